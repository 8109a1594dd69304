"""Parts of a dataset: found in what was unpacked, at any depth, and put into their places."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from loreal_plugin.download.table import Part
from loreal_plugin.files.archives import is_archive, unpack

DEPTH = 4  # folders below which nothing is looked for: classes and pictures lie there

_PACKED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz")


def find(tree: Path, part: Part, path: str, names: Collection[str] = ()) -> list[Path]:
    """Return where a path of `part.gives` lies in a tree; empty: nowhere, several: it is not clear.

    It is looked for in the tree itself, then in folders with a name of the dataset, then anywhere:
    many datasets have a folder `images`.

    Args:
        names: of the dataset and of its folder.
    """
    wanted = [PurePosixPath(path).parts]
    if path in part.also_named:
        wanted.append(PurePosixPath(part.also_named[path]).parts)
    for parts in wanted:
        if is_kind(tree / Path(*parts), path):
            return [tree / Path(*parts)]
    found: dict[Path, Path] = {}  # places, and the folders around them
    for place in _upper(tree):
        for parts in wanted:
            named = place.relative_to(tree).parts[-len(parts) :] == parts
            inside = any(other in place.parents for other in found)
            if named and not inside and is_kind(place, path):
                found[place] = place.parents[len(parts) - 1]
    own = [place for place, around in found.items() if around.name in names]
    return own or list(found)


def is_kind(place: Path, path: str) -> bool:
    """Return whether a place is there and is what a path of `part.gives` stands for.

    Paths of files have a suffix, those of folders have none.
    """
    return place.is_file() if PurePosixPath(path).suffix else place.is_dir()


def unpack_inner(tree: Path) -> bool:
    """Unpack the archives that lie in an unpacked one; return whether there was any."""
    # by name first: there may be a hundred thousand pictures
    inner = [path for path in _upper(tree) if path.suffix in _PACKED and is_archive(path)]
    for path in inner:
        unpack(path, path.with_name(f"{path.name}.d"))
        path.unlink()
    return bool(inner)


def place(found: Path, target: Path, *, link: bool) -> None:
    """Put a file or folder into its place: moved, or linked where it is a user's own.

    Raises:
        OSError: it cannot be written there.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() and not target.exists():
        target.unlink()  # what it led to has gone
    if link:
        target.symlink_to(found.resolve())
    else:
        os.replace(found, target)


def _upper(tree: Path) -> Iterator[Path]:
    """Yield what lies in the upper folders of a tree, level by level, in order of names.

    Left out are what is hidden, what macOS adds to archives, and what may not be read.
    """
    level = [tree]
    for _ in range(DEPTH):
        below: list[Path] = []
        for folder in level:
            for path in _inside(folder):
                yield path
                if path.is_dir() and not path.is_symlink():
                    below.append(path)
        level = below


def _inside(folder: Path) -> list[Path]:
    try:
        found = sorted(folder.iterdir())
    except PermissionError:
        return []
    return [path for path in found if path.name != "__MACOSX" and path.name[0] != "."]
