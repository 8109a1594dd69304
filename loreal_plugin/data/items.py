"""Pictures on disk: listing, naming and checking them. Files only, no host."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from loreal_plugin.errors import DataError
from loreal_plugin.files.listing import PICTURE_ENDINGS

_SHOWN = 6  # names of a folder's content that fit in one line


class Item(NamedTuple):
    """One labelled picture: what a host turns into its `Datum`."""

    path: str
    label: int
    classname: str


class ClassPictures(NamedTuple):
    """All pictures of one class, in sorted order."""

    label: int
    classname: str
    paths: Sequence[str]

    def items(self, paths: Iterable[str] | None = None) -> list[Item]:
        """Return `paths` (default: all of this class) as items of this class."""
        chosen = self.paths if paths is None else paths
        return [Item(path, self.label, self.classname) for path in chosen]


def folder_content(folder: Path) -> str:
    """Return a short list of what a folder holds, for error messages."""
    if not folder.is_dir():
        return f"{folder} does not exist"
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in folder.iterdir())
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return f"{folder} holds: {', '.join(names[:_SHOWN]) or 'nothing'}{more}"


def require(path: Path, what: str, todo: str) -> Path:
    """Return `path` if it exists.

    Raises:
        DataError: it does not; the text says what was looked for, what is there instead, and
            `todo`.
    """
    if not path.exists():
        raise DataError(
            f"{what} was looked for at {path} and not found ({folder_content(path.parent)}); {todo}"
        )
    return path


def sub_folders(folder: Path, ignored: Collection[str] = ()) -> list[str]:
    """Return the names of the visible sub-folders, sorted, links to folders included."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir()]
    return sorted(name for name in names if not name.startswith(".") and name not in ignored)


def pictures_in(folder: Path) -> list[str]:
    """Return the full paths of the visible picture files of one folder, sorted.

    Sorted, because the order of a directory listing differs between file systems: a shuffle with a
    fixed seed gives the same result only for the same order.
    """
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.lower().endswith(PICTURE_ENDINGS)]
    return [os.path.join(folder, name) for name in sorted(names) if not name.startswith(".")]


def check_names(paths: Iterable[str], folder: Path) -> None:
    """Raise a DataError with the first of the paths that are no UTF-8, as those of old zips.

    Args:
        folder: what was listed.
    """
    wrong = [path for path in paths if any("\ud800" <= letter <= "\udfff" for letter in path)]
    if wrong:
        text = (
            f"{len(wrong)} picture(s) cannot be trained on: the name is not UTF-8, first"
            f" '{wrong[0]}'; rename, for example: convmv -f latin1 -t utf8 -r --notest"
            f" {shlex.quote(str(folder))}"
        )
        raise DataError(text.encode("utf-8", "backslashreplace").decode("utf-8"))


def class_pictures(
    image_dir: Path, *, ignored: Collection[str] = (), names: Mapping[str, str] | None = None
) -> list[ClassPictures]:
    """Return the classes of a folder-per-class tree, labelled in sorted order of their folders.

    Args:
        image_dir: folder that holds one sub-folder a class.
        ignored: sub-folders that are no classes.
        names: class names by folder; a folder that is not in it is its own class name.

    Raises:
        DataError: there is no class folder, or one without a picture; a name is not UTF-8.
    """
    folders = sub_folders(image_dir, ignored)
    if not folders:
        raise DataError(
            f"a folder per class was looked for and none found; {folder_content(image_dir)}"
        )
    classes = []
    for label, folder in enumerate(folders):
        paths = pictures_in(image_dir / folder)
        if not paths:
            raise DataError(
                f"class folder {image_dir / folder} has no picture ({', '.join(PICTURE_ENDINGS)}); "
                f"add some or remove the folder; {folder_content(image_dir / folder)}"
            )
        check_names(paths, image_dir)
        classes.append(ClassPictures(label, (names or {}).get(folder, folder), paths))
    return classes


def check_files(items: Iterable[Item], source: str, todo: str) -> None:
    """Raise a DataError with the number of absent pictures of `source` and the first of them."""
    missing = [item.path for item in items if not os.path.isfile(item.path)]
    if missing:
        raise DataError(
            f"{len(missing)} picture(s) named by {source} are missing, first"
            f" {', '.join(missing[:3])}; {todo}"
        )
