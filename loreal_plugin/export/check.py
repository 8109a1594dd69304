"""Comparing a package with its run: the same pictures through both, each with its own reader.

Shapes: B pictures, C classes, S side of a picture in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from loreal_plugin.edge.package import Package
from loreal_plugin.errors import ConfigError
from loreal_plugin.inference.deployed import Deployed

_BATCH = 32


@dataclass(frozen=True)
class Agreement:
    """How a package compares with its run.

    Attributes:
        pictures: how many were compared.
        agreement: of them with the same best class, percent.
        largest: largest difference of logits.
        pixels: largest difference of pixels, of 255, between the two readers.
        where: what the pictures are, in words.
    """

    pictures: int
    agreement: float
    largest: float
    pixels: float
    where: str

    def text(self) -> str:
        """Return one line."""
        return (
            f"{self.agreement:.1f} % of {self.pictures} {self.where} get the run's class; logits"
            f" differ by up to {self.largest:.2g}"
        )

    def facts(self) -> dict[str, Any]:
        """Return the comparison in JSON's types."""
        return asdict(self)


def compare(
    package: Package, deployed: Deployed, paths: Sequence[str], where: str, std: Sequence[float]
) -> Agreement:
    """Return how a package compares with the model that it was exported from.

    Args:
        paths: picture files.
        where: what they are, in words.
        std: what the model's transform divides colours by, for pixels in units of 255.
    """
    same, largest, pixels = 0, 0.0, 0.0
    scale = 255 * torch.tensor(list(std))[:, None, None]
    for at in range(0, len(paths), _BATCH):
        part = paths[at : at + _BATCH]
        of_package = np.stack([package.pixels(path) for path in part])  # (B, S, S, 3)
        of_run = torch.stack([deployed.pixels(path) for path in part])  # (B, 3, S, S)
        pixels = max(pixels, _pixel_difference(of_package, of_run, scale))
        wanted = deployed.logits(of_run).float().cpu().numpy()
        found = package.logits(of_package)
        same += int((found.argmax(-1) == wanted.argmax(-1)).sum())
        largest = max(largest, float(np.abs(found - wanted).max()))
    return Agreement(len(paths), 100 * same / len(paths), largest, pixels, where)


def _pixel_difference(of_package: np.ndarray, of_run: torch.Tensor, scale: torch.Tensor) -> float:
    """Return the largest difference of pixels, of 255.

    The run has subtracted a mean from each colour: that constant is no difference.
    """
    apart = of_package - (of_run * scale).permute(0, 2, 3, 1).double().numpy()
    return float(np.abs(apart - np.median(apart, axis=(0, 1, 2))).max())


def refuse_below(found: Agreement, least: float) -> None:
    """Check that a package agrees with its run often enough.

    Raises:
        ConfigError: it does not, or it reads pictures in another way.
    """
    if found.pixels > 0.5:
        raise ConfigError(
            f"the package reads pictures differently from the run (pixels differ by up to"
            f" {found.pixels:.1f} of 255): the host's test transform is no resize of the shorter"
            " edge and centre crop, which is what a package does"
        )
    if found.agreement < least:
        raise ConfigError(
            f"the package gives the run's class in {found.agreement:.1f} % of {found.pictures}"
            f" {found.where} (logits differ by up to {found.largest:.3g}), and {least:g} % are"
            " wanted; nothing was written: choose another --precision, or lower --min-agreement"
        )
