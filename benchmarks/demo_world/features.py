"""Features of the pictures of the world at several resolutions, computed when first asked for.

The pictures pass through the same JPEG encoding as the files that the hosts read, and through PIL's
bicubic resizing and CLIP's normalisation as the hosts' test transforms do.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.demo_world.towers import encode_patches, normalise_patches, patchify
from loreal_plugin.demo import render, world
from loreal_plugin.demo.pictures import encode_jpeg

BATCH = 48


@dataclass(frozen=True)
class PoolRows:
    """Pictures of some classes: rows (n,), targets (n,) counted from 0, value indices (n, 8)."""

    index: Tensor
    target: Tensor
    attributes: np.ndarray


def resize(picture: Image.Image, size: int) -> Tensor:
    """Returns a picture as uint8 (3, size, size), resized as the hosts do."""
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


@torch.no_grad()
def encode_images(model: nn.Module, images: Tensor) -> Tensor:
    """Returns normalised features (B, E) of uint8 images (B, 3, r, r)."""
    patches = patchify(images, model.visual.conv1.weight.shape[-1])
    return encode_patches(model, normalise_patches(patches), None)[0]


class FeatureStore:
    """Features (n, E) by split and resolution, `pictures[split]` a class, in order of class."""

    def __init__(self, model: nn.Module, pictures: dict[str, int]) -> None:
        self.model, self.pictures = model, pictures
        self._features: dict[tuple[str, int], Tensor] = {}
        self._attributes: dict[str, np.ndarray] = {}

    def rows(self, split: str, labels: Sequence[int]) -> PoolRows:
        """Returns the rows of consecutive classes `labels`."""
        count = self.pictures[split]
        if split not in self._attributes:
            every = [(label, index) for label in range(world.NUM_CLASSES) for index in range(count)]
            self._attributes[split] = np.stack(
                [render.picture_attributes(split, *key) for key in every]
            )
        index = torch.arange(labels[0] * count, (labels[-1] + 1) * count)
        target = torch.arange(len(labels)).repeat_interleave(count)
        return PoolRows(index, target, self._attributes[split][index.numpy()])

    def features(self, split: str, size: int) -> Tensor:
        """Returns the features of a whole split at one resolution."""
        if (split, size) not in self._features:
            self._encode(split, (224, 192, 144, 96) if split == "test" else (size,))
        return self._features[split, size]

    def _pictures(self, split: str) -> Iterator[Image.Image]:
        for label in range(world.NUM_CLASSES):
            for index in range(self.pictures[split]):
                yield Image.open(io.BytesIO(encode_jpeg(split, label, index)))

    def _encode(self, split: str, sizes: Sequence[int]) -> None:
        """Draws a split once and encodes it at all `sizes`."""
        parts: dict[int, list[Tensor]] = {size: [] for size in sizes}
        total = world.NUM_CLASSES * self.pictures[split]
        batch: list[Image.Image] = []
        for number, picture in enumerate(
            tqdm(self._pictures(split), f"{split} features", total, mininterval=5), 1
        ):
            batch.append(picture)
            if len(batch) == BATCH or number == total:
                for size in sizes:
                    images = torch.stack([resize(image, size) for image in batch])
                    parts[size].append(encode_images(self.model, images))
                batch.clear()
        for size in sizes:
            self._features[split, size] = torch.cat(parts[size])
