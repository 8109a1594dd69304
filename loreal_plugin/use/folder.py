"""A folder of pictures as people make it: which pictures of which class are there.

A class is a folder. Pictures may lie deeper in it. `train/` beside `test/` or `val/` are parts of a
division that somebody has made already.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loreal_plugin.data.items import check_names, folder_content, sub_folders
from loreal_plugin.errors import DataError
from loreal_plugin.files.listing import PICTURE_ENDINGS, pictures_below

TRAIN, TEST = "train", "test"
_PARTS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("test", "testing", "val", "valid", "validation"), TEST),
}


@dataclass(frozen=True)
class FolderContent:
    """What a folder holds.

    Attributes:
        pictures: files of each part by class name; parts are `train` and `test`, or only "" where
            the folder is not divided.
        left_out: folders without a picture, as seen from the folder.
    """

    pictures: Mapping[str, Mapping[str, list[str]]]
    left_out: tuple[str, ...]

    @property
    def classnames(self) -> list[str]:
        """Class names, sorted."""
        return sorted({name for part in self.pictures.values() for name in part})


def scan_folder(folder: Path) -> FolderContent:
    """Return the pictures of a folder by part and class.

    Raises:
        DataError: no folder, fewer than two classes, or two of one name; a name is not UTF-8.
    """
    if not folder.is_dir():
        raise DataError(f"'{folder}' is no folder; name the folder that holds a folder per class")
    parts = _parts_of(folder)
    found: dict[str, dict[str, list[str]]] = {}
    empty: list[str] = []
    for part, place in parts:
        classes = found.setdefault(part, {})
        for name in sub_folders(place):
            # a pipe would wait for ever
            pictures = [path for path in pictures_below(place / name) if os.path.isfile(path)]
            check_names(pictures, folder)
            if pictures:
                classes.setdefault(name.strip(), []).extend(pictures)
            else:
                empty.append(str((place / name).relative_to(folder)))
    names = {name for part in found.values() for name in part}
    _check_names(folder, names)
    return FolderContent(found, tuple(empty))


def _parts_of(folder: Path) -> list[tuple[str, Path]]:
    """Return the folders of a division, or the folder itself."""
    named = [(_PARTS[name.lower()], name) for name in sub_folders(folder) if name.lower() in _PARTS]
    parts = [(part, folder / name) for part, name in named if sub_folders(folder / name)]
    return sorted(parts) if {part for part, _ in parts} == {TRAIN, TEST} else [("", folder)]


def _check_names(folder: Path, names: set[str]) -> None:
    """Raise DataError unless there are two classes or more, whose names people can tell apart."""
    if not names:
        raise DataError(
            f"no folder in '{folder}' has a picture ({', '.join(PICTURE_ENDINGS)}); put the"
            f" pictures of each class into a folder with its name; {folder_content(folder)}"
        )
    if len(names) == 1:
        (only,) = names
        inside = sub_folders(folder / only) if (folder / only).is_dir() else []
        hint = f"; did you mean '{folder / only}'?" if len(inside) > 1 else ""
        raise DataError(f"'{folder}' has one class, '{only}'; at least two are needed{hint}")
    plain = {name: " ".join(name.replace("_", " ").split()).casefold() for name in names}
    counts = Counter(plain.values())
    twice = sorted(name for name in names if counts[plain[name]] > 1)
    if twice:
        raise DataError(
            f"'{folder}' has classes that only case, spaces or '_' tell apart:"
            f" {', '.join(twice[:6])}; put their pictures into one folder, or rename one"
        )
