"""A sheet of pictures for people to look at."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from loreal_plugin.demo import render, world
from loreal_plugin.demo.files import write_whole

THUMBNAIL = 112
LABEL_HEIGHT = 14


def _class_strip(label: int, pictures: int) -> Image.Image:
    """Returns `pictures` test pictures of one class side by side, its name above."""
    strip = Image.new("RGB", (THUMBNAIL * pictures, THUMBNAIL + LABEL_HEIGHT), "white")
    half = "base" if label in world.BASE_CLASSES else "new"
    ImageDraw.Draw(strip).text((2, 1), f"{world.NAMES[label]} ({half})", fill="black")
    for index in range(pictures):
        picture = Image.fromarray(render.draw_picture("test", label, index)[0])
        strip.paste(
            picture.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC),
            (THUMBNAIL * index, LABEL_HEIGHT),
        )
    return strip


def write_sheet(path: Path, pictures: int = 4) -> Path:
    """Writes a PNG with `pictures` test pictures of every class, classes of a family next to each other."""
    labels = [label for family in world.families() for label in family]
    strips = [np.asarray(_class_strip(label, pictures)) for label in labels]
    columns = [np.concatenate(strips[start : start + 10]) for start in range(0, len(strips), 10)]
    picture = io.BytesIO()
    Image.fromarray(np.concatenate(columns, axis=1)).save(picture, "PNG")
    write_whole(path, picture.getvalue())
    return path
