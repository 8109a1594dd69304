"""Which files of a folder are pictures: one list of endings, one walker of folders.

Folders of a dataset, one a class, are listed by `loreal_plugin.data.items`.
"""

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

    A picture is known by its ending.
    """
    return visible_below(folder, PICTURE_ENDINGS)


def visible_below(folder: str | os.PathLike[str], endings: tuple[str, ...]) -> Iterator[str]:
    """Yield the visible files of these endings in and below a folder, sorted in each folder.

    What begins with a dot is hidden, folders included.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(endings) and not name.startswith("."):
                yield os.path.join(place, name)
