"""The pictures of pre-training, drawn once and kept as patches in one memory-mapped file.

Several pre-trainings read the same file. It is written under another name and renamed when
complete, so a file that exists is whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.demo_world.class_sets import DEMO, ClassSet
from benchmarks.demo_world.towers import GRID, PATCH_SIZE
from loreal_plugin.demo import world
from loreal_plugin.demo.render import draw
from loreal_plugin.files import replacing

PATCH_VALUES = 3 * PATCH_SIZE * PATCH_SIZE
# Pre-training zooms out to half size, as photographs show things at many distances.
STREAM = 10
ZOOM = (0.42, 1.2)
CLASS_SHARE = 0.7  # the other pictures show a "thing": eight attributes drawn at random


@dataclass(frozen=True)
class PretrainPicture:
    """A picture (S, S, 3), its value indices, its class (-1: a thing), `draw`'s masks (2, S, S)."""

    picture: np.ndarray
    attributes: np.ndarray
    label: int
    coverage: np.ndarray


def draw_pretrain_picture(index: int, classes: ClassSet = DEMO) -> PretrainPicture:
    """Returns pre-training picture `index` of a set of classes."""
    rng = np.random.default_rng([world.WORLD_VERSION, STREAM, index])
    label = int(rng.integers(len(classes))) if rng.random() < CLASS_SHARE else None
    attributes = classes.sample(label, rng)
    picture, coverage = draw(attributes, rng, ZOOM)
    return PretrainPicture(picture, attributes, -1 if label is None else label, coverage)


@dataclass(frozen=True)
class PretrainPool:
    """`patches` (N, G, P) uint8, `attributes` (N, 8) int64, `labels` (N,) int64 with -1 for a
    thing.

    `coverage` (N, G, 2) says in [0, 1] how much of a patch the object and its mark cover.
    """

    patches: np.ndarray
    coverage: np.ndarray
    attributes: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def to_patches(picture: np.ndarray) -> np.ndarray:
    """Returns the patches (G, P) of a picture (S, S, 3), in the order channel, row, column."""
    grid = picture.reshape(GRID, PATCH_SIZE, GRID, PATCH_SIZE, 3)
    return grid.transpose(0, 2, 4, 1, 3).reshape(GRID * GRID, PATCH_VALUES)


def merged_patches(patches: np.ndarray, size: int) -> np.ndarray:
    """Returns patches (B, G, P) of `size` pixels, made of smaller ones; the same array where they
    have that size.
    """
    small = math.isqrt(patches.shape[-1] // 3)
    if small == size:
        return patches
    times, across = size // small, math.isqrt(patches.shape[1]) * small // size
    tiles = patches.reshape(-1, across, times, across, times, 3, small, small)
    return tiles.transpose(0, 1, 3, 5, 2, 6, 4, 7).reshape(len(patches), across**2, -1)


def merged_coverage(coverage: np.ndarray, times: int) -> np.ndarray:
    """Returns coverage (B, G, n) of patches that are `times` as wide."""
    if times == 1:
        return coverage
    across = math.isqrt(coverage.shape[1]) // times
    tiles = coverage.reshape(len(coverage), across, times, across, times, -1)
    return tiles.mean((2, 4), dtype=np.float32).reshape(len(coverage), across**2, -1)


def patch_coverage(coverage: np.ndarray) -> np.ndarray:
    """Returns the mean (G, 2) of pixel masks (2, S, S) over each patch."""
    grid = coverage.reshape(2, GRID, PATCH_SIZE, GRID, PATCH_SIZE).mean((2, 4))
    return grid.reshape(2, -1).T


def _pool_files(folder: Path, size: int, classes: ClassSet) -> tuple[Path, Path]:
    more = "" if classes is DEMO else f"-{len(classes)}-classes"
    stem = f"pretrain-v{world.WORLD_VERSION}-{size}{more}"
    return folder / f"{stem}.npy", folder / f"{stem}-labels.npz"


def _draw_pool(folder: Path, size: int, classes: ClassSet) -> None:
    patches_file, labels_file = _pool_files(folder, size, classes)
    attributes = np.empty((size, len(world.ATTRIBUTES)), np.int64)
    labels = np.empty(size, np.int64)
    coverage = np.empty((size, GRID * GRID, 2), np.float16)
    with replacing(patches_file) as part:
        patches = np.lib.format.open_memmap(
            part, mode="w+", dtype=np.uint8, shape=(size, GRID * GRID, PATCH_VALUES)
        )
        for index in tqdm(range(size), desc="pre-training pictures", mininterval=2):
            drawn = draw_pretrain_picture(index, classes)
            attributes[index], labels[index] = drawn.attributes, drawn.label
            patches[index] = to_patches(drawn.picture)
            coverage[index] = patch_coverage(drawn.coverage)
        patches.flush()
        with replacing(labels_file) as labels_part, open(labels_part, "wb") as file:
            np.savez(file, attributes=attributes, labels=labels, coverage=coverage)


def open_pool(folder: Path, size: int, classes: ClassSet = DEMO) -> PretrainPool:
    """Returns the first `size` pre-training pictures; draws them into `folder` where missing."""
    patches_file, labels_file = _pool_files(folder, size, classes)
    if not (patches_file.exists() and labels_file.exists()):
        _draw_pool(folder, size, classes)
    with np.load(labels_file) as stored:
        attributes, labels, coverage = stored["attributes"], stored["labels"], stored["coverage"]
    return PretrainPool(np.load(patches_file, mmap_mode="r"), coverage, attributes, labels)
