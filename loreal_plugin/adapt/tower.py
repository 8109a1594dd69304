"""A student's image side as the adaptation sees it: pictures in, embeddings and patch tokens out.

Shapes: B pictures, F features a picture, D_v embedding width, N patches, D width of the encoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from loreal_plugin.adapt.settings import AdaptSettings
from loreal_plugin.contract.image_tower import ImageTower, tensor_of
from loreal_plugin.errors import ConfigError, HostError
from loreal_plugin.method.adaptation import Adaptation, place_of
from loreal_plugin.students.student import Student
from loreal_plugin.weights.positions import resample_pos_embed


class Tower:
    """The image side of a student, with its patch tokens.

    Args:
        student: what it is the image side of.
        half: a 16-bit type in which products are computed (autocast); None: the student's own type.

    Attributes:
        parts: names of the tensors that can be adapted.
        patch: side of a patch, pixels.
        own_grid: patches along one side of the student's own pictures.
        grid: patches along one side of the pictures that are read now.
    """

    def __init__(self, student: Student, half: torch.dtype | None = None) -> None:
        self.student, self.model, self.half = student, student.model, half
        self.parts: ImageTower = student.contract.image_tower(student.model)
        kernel = tensor_of(student.model, self.parts.kernel)
        self.patch = kernel.shape[-1]
        self.grid = student.encoder_size // self.patch
        self.own_grid = self.grid
        self._positions: Resampled | None = None
        self._norm = student.model.get_submodule(self.parts.last_norm)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.student.device

    def read_grid(self, grid: int) -> None:
        """Read pictures of `grid` patches along one side from now on.

        Raises:
            ConfigError: another grid than the student's own, and `several_sizes` was not called.
        """
        self.grid = grid
        if grid != self.own_grid and self._positions is None:
            raise ConfigError(f"a student of grid {self.own_grid} cannot read a grid of {grid}")
        if self._positions is not None:
            self._positions.grid = grid

    def several_sizes(self, resampling: str) -> None:
        """Let the student read smaller grids, too: its positions are resampled as it reads.

        Call it when the updates are on; `merge` of the adaptation takes it away again.
        """
        module, name = place_of(self.model, self.parts.positions)
        self._positions = Resampled(self.own_grid, resampling)
        parametrize.register_parametrization(module, name, self._positions)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return L2-normalised features (B, F, D_v) and the patch tokens (B, N, D).

        The tokens are those that the last block reads. Gradients flow.

        Raises:
            HostError: the last block did not run, or read other rows.
        """
        seen: list[Tensor] = []
        handle = self._norm.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        try:
            kind, half = self.device.type, self.half
            with torch.autocast(kind, dtype=half, enabled=half is not None):
                features = self.student.encode_image_with_grad(images.to(self.device))
        finally:
            handle.remove()
        count = self.grid**2
        if not seen or seen[-1].dim() != 3 or seen[-1].shape[0] < 1 + count:
            shape = tuple(seen[-1].shape) if seen else "nothing"
            raise HostError(
                f"the last block of the image encoder was to read rows (T, B, D) with {count}"
                f" patches among them, it read {shape}; its patch tokens cannot be compared,"
                " so it cannot be adapted; in a run leave that out: -- TRAINER.LOREAL.ADAPT none"
            )
        # A host may use the norm for a branch of its own, too: the rows are the same.
        return features, self.student.contract.patch_rows(seen[0], count)


class Resampled(nn.Module):
    """Positions (1 + g*g, D) as a smaller grid of patches reads them, on every reading anew."""

    def __init__(self, grid: int, resampling: str) -> None:
        super().__init__()
        self.grid, self.resampling = grid, resampling

    def forward(self, positions: Tensor) -> Tensor:
        """Return the positions of the grid that is read now."""
        return resample_pos_embed(positions, self.grid, self.resampling)


def adapt(student: Student, settings: AdaptSettings) -> Adaptation:
    """Put trainable updates on a student's image side; the start changes nothing.

    Raises:
        ConfigError: the rank does not fit.
        HostError: the image encoder is no CLIP vision transformer.
    """
    parts = student.contract.image_tower(student.model)
    generator = torch.Generator().manual_seed(settings.seed)
    full, low_rank = settings.full_updates(parts), settings.low_rank_updates(parts)
    return Adaptation(student.model, full, low_rank, settings.rank, generator)
