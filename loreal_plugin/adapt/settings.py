"""What an adaptation is: which tensors train, on what, for how long."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from loreal_plugin.contract.image_tower import ImageTower
from loreal_plugin.errors import ConfigError
from loreal_plugin.options import LorealOptions
from loreal_plugin.weights.positions import grid_size_of

WARM_UP_STEPS = 30
BETAS = (0.9, 0.98)
# Pictures of one view that are encoded and trained on together; what bounds the memory.
SHARD = 2048


@dataclass(frozen=True)
class AdaptSettings:
    """The settings of one adaptation.

    Attributes:
        kind: `positions`, `patch` (kernel and positions), `lora` (low-rank updates of the maps of
            all blocks), or `patch_lora`, both.
        rank: of the low-rank updates.
        views: augmented views of a picture.
        epochs: passes over all views of all pictures.
        lr: highest learning rate.
        token_weight: of the loss on patch tokens, beside the loss on embeddings.
        batch: pictures a step.
        seed: of views, order and the start of the factors.
        enlarge: side to which the pupil enlarges its pictures, pixels; 0: it does not.
    """

    kind: str = "patch_lora"
    rank: int = 8
    views: int = 32
    epochs: int = 3
    lr: float = 3e-3
    token_weight: float = 1.0
    batch: int = 32
    seed: int = 1
    enlarge: int = 0

    @classmethod
    def of(cls, options: LorealOptions, seed: int) -> AdaptSettings:
        """Return the settings that the keys ADAPT_* ask for."""
        o = options
        return cls(
            kind=o.adapt,
            rank=o.adapt_rank,
            views=o.adapt_views,
            epochs=o.adapt_epochs,
            lr=o.adapt_lr,
            token_weight=o.adapt_token_weight,
            batch=o.adapt_batch,
            seed=seed,
            enlarge=o.adapt_enlarge,
        )

    def full_updates(self, tower: ImageTower) -> tuple[str, ...]:
        """Return the names of the tensors that get an update of their own shape."""
        if self.kind == "lora":
            return ()
        return (tower.positions,) if self.kind == "positions" else (tower.kernel, tower.positions)

    def low_rank_updates(self, tower: ImageTower) -> tuple[str, ...]:
        """Return the names of the matrices that get a low-rank update."""
        return tower.maps if "lora" in self.kind else ()

    def facts(self) -> dict[str, Any]:
        """Return the settings in JSON's types; without `enlarge` 0, which old files do not have."""
        return {k: v for k, v in asdict(self).items() if k != "enlarge" or v}


def check_enlarge(enlarge: int, phi: int, patch: int) -> None:
    """Raise ConfigError unless pictures of phi can be enlarged to this side, or are not (0).

    Args:
        patch: side of the patches that the encoder reads, pixels.
    """
    name = "TRAINER.LOREAL.ADAPT_ENLARGE"
    if not enlarge:
        return
    grid_size_of(enlarge, patch, name)
    if enlarge <= phi:
        raise ConfigError(
            f"{name} {enlarge} does not enlarge pictures of PHI {phi}: choose a larger multiple of"
            f" the patch size {patch}, or 0"
        )
