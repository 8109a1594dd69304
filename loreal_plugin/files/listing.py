"""Which files of a folder are pictures: one list of endings and one walker for every command."""

from __future__ import annotations

import os
from collections.abc import Iterator

PICTURE_ENDINGS = (
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".gif",
    ".ppm",
    ".pgm",
)


def pictures_below(folder: str | os.PathLike[str]) -> Iterator[str]:
    """Yield the visible pictures of a folder and of what lies below it, sorted in each folder.

    A picture is known by its ending. What begins with a dot is hidden, folders included.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(PICTURE_ENDINGS) and not name.startswith("."):
                yield os.path.join(place, name)
