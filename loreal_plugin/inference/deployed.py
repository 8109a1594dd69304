"""A trained run, ready to predict: pictures in, classes out.

Shapes: B images, C classes, F features an image, D_v joint width, S side of the images in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from loreal_plugin.errors import ConfigError, DataError
from loreal_plugin.inference.builder import ModeBuilder
from loreal_plugin.inference.choose import read_chosen, resolve_calibrated
from loreal_plugin.inference.modes import Mode, check_inference
from loreal_plugin.inference_modes import CALIBRATED, MODES
from loreal_plugin.method.loreal import Loreal
from loreal_plugin.options import LorealOptions
from loreal_plugin.pictures import as_rgb, from_array, read_picture
from loreal_plugin.students.student import Student

# a file, a PIL picture, an array (H, W), (H, W, 3) or (H, W, 4), or a tensor (3, H, W)
Picture: TypeAlias = str | Path | Image.Image | np.ndarray | Tensor


@dataclass(frozen=True)
class Prediction:
    """One class of a picture, with its probability among the model's classes."""

    classname: str
    probability: float


@dataclass(eq=False)
class Deployed:
    """A model that embeds and predicts pictures at phi; `loreal_plugin.load_run` opens one.

    Attributes:
        model: beta, the meta-nets and the correction.
        modes: builds other inference modes.
        transform: PIL picture -> tensor (3, S, S), as the host's test transform gives it at phi.
        facts: where the model comes from, in JSON's types.
    """

    model: Loreal
    modes: ModeBuilder
    transform: Callable[[Image.Image], Tensor]
    facts: Mapping[str, Any]

    @property
    def beta(self) -> Student:
        """The student that predicts."""
        return self.modes.beta

    @property
    def classnames(self) -> list[str]:
        """C class names in the order of the logits, as people write them."""
        return [name.replace("_", " ") for name in self.beta.classnames]

    @property
    def phi(self) -> int:
        """Side of the pictures that the model reads, pixels."""
        return self.beta.input_size

    @property
    def mode(self) -> Mode | None:
        """What predicts; None where it is exact."""
        return cast(Mode | None, self.model.mode)

    @property
    def inference(self) -> str:
        """The inference mode in use, a choice of the key INFERENCE."""
        mode = self.mode
        return "exact" if mode is None else mode.mode

    def use(self, options: LorealOptions, margin: float | None = None) -> None:
        """Predict in the inference mode that the options name.

        Raises:
            ConfigError: the method or the options exclude the mode; `auto` has no threshold.
            CheckpointError: its tables are not there and cannot be made here.
        """
        check_inference(self.beta.contract, options)
        if options.inference == CALIBRATED:
            options = resolve_calibrated(options, read_chosen(self.modes, options))
        exact = options.inference == "exact"
        self.model.mode = None if exact else self.modes.mode(options, margin)

    def another_mode(self, asked: str | None) -> str:
        """Return in one line why the mode in use is another than was asked for; empty where it is
        not, or where none was.
        """
        if asked is None or self.modes.acting(asked) == asked:
            return ""
        return (
            f"INFERENCE {asked} is {self.modes.acting(asked)} here: the slots of this student have"
            " no contents, so all pictures have the same text features"
        )

    # ---- tensors ---------------------------------------------------------------------------------

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Return features (B, F, D_v) of images (B, 3, phi, phi), L2-normalised and corrected."""
        return self.model.embed(images.to(self.beta.device))

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Return logits (B, C) of images (B, 3, phi, phi); each row depends on its image alone."""
        return self.model(images.to(self.beta.device))

    # ---- pictures --------------------------------------------------------------------------------

    def pixels(self, picture: Picture) -> Tensor:
        """Return a picture as the model reads it, (3, phi, phi), on the CPU.

        Raises:
            DataError: the file is missing or broken, or it is no picture.
        """
        return self.transform(_as_image(picture))

    def predict(
        self,
        pictures: Iterable[Picture],
        *,
        top: int = 5,
        batch: int = 32,
    ) -> list[list[Prediction]]:
        """Return the classes of each picture, the most probable first.

        Args:
            pictures: files, PIL pictures, arrays (H, W, 3) or tensors (3, H, W), of any size.
            top: classes a picture.
            batch: pictures that run at once; no prediction depends on it.

        Raises:
            ConfigError: `top` or `batch` below 1.
            DataError: as for `pixels`, or `pictures` is one picture, not a list.
        """
        is_one = isinstance(pictures, (np.ndarray, Tensor)) and pictures.ndim < 4
        if is_one or isinstance(pictures, (str, Path, Image.Image)):
            raise DataError(
                f"pictures must be a list, got one {type(pictures).__name__}; give [picture]"
            )
        if top < 1 or batch < 1:
            raise ConfigError(f"top and batch must be at least 1, got {top} and {batch}")
        predictions: list[list[Prediction]] = []
        waiting: list[Tensor] = []
        for picture in pictures:
            waiting.append(self.pixels(picture))
            if len(waiting) == batch:
                predictions += self.classify(torch.stack(waiting), top)
                waiting = []
        return predictions + (self.classify(torch.stack(waiting), top) if waiting else [])

    def classify(self, images: Tensor, top: int = 5) -> list[list[Prediction]]:
        """Return the classes of images (B, 3, phi, phi) as `pixels` gives them, as `predict`."""
        names = self.classnames
        best = self.logits(images).float().softmax(-1).topk(min(top, len(names)), dim=-1)
        rows: Sequence[tuple[list[int], list[float]]] = list(
            zip(best.indices.tolist(), best.values.tolist(), strict=True)
        )
        return [
            [Prediction(names[i], value) for i, value in zip(*row, strict=True)] for row in rows
        ]

    # ---- size ------------------------------------------------------------------------------------

    def slim(self) -> None:
        """Let go of what this mode's predictions do not need: token embeddings, a text encoder.

        Other modes and class sets cannot be built afterwards.
        """
        needs_text = MODES[self.inference].needs_text
        if not needs_text:
            # A mode makes its tables of text features at its first prediction.
            self.logits(torch.zeros(1, 3, self.phi, self.phi))
        self.beta.slim(text=needs_text)


def _as_image(picture: Picture) -> Image.Image:
    """Return a picture in RGB.

    Raises:
        DataError: see `Deployed.pixels`.
    """
    if isinstance(picture, (str, Path)):
        return read_picture(picture)
    if isinstance(picture, Image.Image):
        return as_rgb(picture)
    if isinstance(picture, Tensor):
        if picture.ndim != 3 or picture.shape[0] not in (1, 3):
            raise DataError(
                f"a picture as a tensor has the shape (3, H, W), not {tuple(picture.shape)}"
            )
        picture = picture.detach().cpu().permute(1, 2, 0).numpy()
    if not isinstance(picture, np.ndarray):
        raise DataError(
            f"a picture is a file name, a PIL picture, an array or a tensor, got"
            f" {type(picture).__name__}"
        )
    if picture.size and picture.dtype.kind == "f" and np.nanmin(picture) < 0:
        # `from_array` would stretch such numbers to 0..255, and give another picture
        raise DataError(
            "a picture has numbers below 0; is it normalised already? Then it goes to `logits`,"
            " else give its colours from 0 to 1, or as uint8"
        )
    if picture.size and picture.dtype.kind == "f" and 1 < np.nanmax(picture) < 2:
        # a resize overshoots; as a number of 0 to 255 it would make the whole picture black
        raise DataError(
            f"a picture of fractions has numbers above 1 ({np.nanmax(picture):.3g}); cut them off"
            " there (clip), or give its colours as uint8"
        )
    return from_array(picture)
