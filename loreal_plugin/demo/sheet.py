"""A sheet of pictures for people to look at."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from loreal_plugin.demo import render, world
from loreal_plugin.demo.targets import TargetWorld
from loreal_plugin.files import write_bytes

THUMBNAIL = 112
LABEL_HEIGHT = 14
COLUMN = 10  # classes below each other
PICTURES = 4  # of a class


def _strip(title: str, pictures: list[np.ndarray]) -> np.ndarray:
    """Return pictures (S, S, 3) side by side, small, a title above."""
    strip = Image.new("RGB", (THUMBNAIL * len(pictures), THUMBNAIL + LABEL_HEIGHT), "white")
    ImageDraw.Draw(strip).text((2, 1), title, fill="black")
    for index, pixels in enumerate(pictures):
        small = Image.fromarray(pixels).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC)
        strip.paste(small, (THUMBNAIL * index, LABEL_HEIGHT))
    return np.asarray(strip)


def _write(path: Path, strips: list[np.ndarray]) -> Path:
    """Write strips as a PNG, ten below each other; what is left of the last column stays white."""
    blank = np.full_like(strips[0], 255)
    strips = strips + [blank] * (-len(strips) % COLUMN)
    columns = [
        np.concatenate(strips[start : start + COLUMN]) for start in range(0, len(strips), COLUMN)
    ]
    picture = io.BytesIO()
    Image.fromarray(np.concatenate(columns, axis=1)).save(picture, "PNG")
    write_bytes(path, picture.getvalue())
    return path


def write_sheet(path: Path) -> Path:
    """Write a PNG with PICTURES test pictures of each class, classes of a family side by side."""
    strips = []
    for label in (label for family in world.families() for label in family):
        half = "base" if label in world.BASE_CLASSES else "new"
        drawn = [render.draw_picture("test", label, index)[0] for index in range(PICTURES)]
        strips.append(_strip(f"{world.NAMES[label]} ({half})", drawn))
    return _write(path, strips)


def write_target_sheet(path: Path, target: TargetWorld) -> Path:
    """Write a PNG with PICTURES pictures of every class of a target world."""
    strips = [
        _strip(name, [target.draw(label, index) for index in range(PICTURES)])
        for label, name in enumerate(target.classnames)
    ]
    return _write(path, strips)
