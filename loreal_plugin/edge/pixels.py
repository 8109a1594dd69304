"""From a picture to what the encoder reads, as the resize recipe of a package says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from loreal_plugin.errors import CheckpointError, DataError, unknown_name
from loreal_plugin.pictures import as_rgb, read_picture

RESAMPLE = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
}
HOW = {
    "edge": "shorter",
    "antialias": True,
    "crop": "centre, rounded half to even",
    "colours": "RGB",
    "layout": "NHWC",
    "dtype": "uint8",
}


def recipe_of(size: int, resample: str) -> dict[str, Any]:
    """Return a recipe as `loreal.json` has it: the shorter edge to `size` pixels, then a square."""
    return {"size": size, "resample": resample, **HOW}


def check_recipe(recipe: Mapping[str, Any]) -> None:
    """Check that this release knows how to follow a recipe.

    Raises:
        CheckpointError: it does not.
    """
    if recipe.get("resample") not in RESAMPLE:
        raise CheckpointError(unknown_name("resample", str(recipe.get("resample")), RESAMPLE))
    other = [name for name, value in HOW.items() if recipe.get(name) != value]
    if other:
        raise CheckpointError(
            f"the package reads pictures in a way that this release does not know"
            f" ({', '.join(f'{name} {recipe.get(name)}' for name in other)}); use the release that"
            " wrote it"
        )


def to_pixels(picture: Image.Image, recipe: Mapping[str, Any]) -> np.ndarray:
    """Return a picture in RGB as the encoder reads it: (size, size, 3) uint8."""
    size, (width, height) = int(recipe["size"]), picture.size
    # the longer side is cut off, not rounded, as torchvision does
    if width <= height:
        new = (size, int(size * height / width))
    else:
        new = (int(size * width / height), size)
    if new != (width, height):
        picture = picture.resize(new, RESAMPLE[recipe["resample"]])
    left, top = round((new[0] - size) / 2), round((new[1] - size) / 2)
    return np.asarray(picture.crop((left, top, left + size, top + size)), dtype=np.uint8)


def read_rgb(picture: str | Path | Image.Image) -> Image.Image:
    """Return a picture file, or a PIL picture, upright in 8-bit RGB, as the whole project reads it.

    Raises:
        DataError: the file is missing or broken, or it is neither.
    """
    if isinstance(picture, Image.Image):
        return as_rgb(picture)
    if not isinstance(picture, (str, Path)):
        raise DataError(f"a picture is a file name or a PIL picture, got {type(picture).__name__}")
    return read_picture(picture)
