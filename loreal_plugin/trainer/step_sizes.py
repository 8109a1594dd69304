"""A host that sees its training pictures at a random size in every step.

The pictures of a step are drawn as for the native size and then shrunk to the size of this step;
the image positions are resampled to it, as they are for phi. Sizes follow from seed, epoch and step
alone, so a training that goes on ends as an undisturbed one.

Shapes: B images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from loreal_plugin.contract.image_tower import is_vision_transformer
from loreal_plugin.weights.positions import positions_at


def size_of_step(sizes: tuple[int, ...], seed: int, epoch: int, step: int) -> int:
    """Return the size of the pictures of a step, in pixels; epochs and steps count from 0."""
    return int(np.random.default_rng([seed, epoch, step]).choice(sizes))


def resize_images(images: Tensor, size: int) -> Tensor:
    """Return images (B, 3, H, H) at `size`, smoothed as Pillow does it."""
    if images.shape[-1] == size:
        return images
    square = (size, size)
    return F.interpolate(images, square, mode="bicubic", align_corners=False, antialias=True)


def draw_sizes(trainer: Any, sizes: tuple[int, ...], resampling: str) -> None:
    """Let each step of a trainer see its pictures at a random size.

    Args:
        trainer: one of the host's, built for the native size.
        sizes: to draw from, in pixels.
        resampling: how image positions are resampled (POSITION_RESAMPLING).
    """
    step, towers = trainer.forward_backward, _towers(trainer)

    def forward_backward(batch: dict[str, Any]) -> dict[str, float]:
        size = size_of_step(sizes, max(trainer.cfg.SEED, 0), trainer.epoch, trainer.batch_idx)
        with positions_at(towers, size, resampling):
            return step({**batch, "img": resize_images(batch["img"], size)})

    trainer.forward_backward = forward_backward


def _towers(trainer: Any) -> list[nn.Module]:
    """Return every vision transformer of a trainer: its model's, and a frozen teacher's beside."""
    held = [value for value in vars(trainer).values() if isinstance(value, nn.Module)]
    modules = {id(m): m for value in held for m in value.modules()}
    return [module for module in modules.values() if is_vision_transformer(module)]
