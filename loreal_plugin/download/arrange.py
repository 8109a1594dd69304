"""Parts of a dataset: found in what was unpacked, whatever folders lie around them, and put into
their places.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from loreal_plugin.download.table import Part
from loreal_plugin.files.archives import is_archive, unpack

DEPTH = 4  # folders below which nothing is looked for: classes and pictures lie there

_PACKED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz")


def find(tree: Path, part: Part, path: str) -> Path | None:
    """Return where a path of `part.gives` lies in a tree, the uppermost place; None: nowhere."""
    wanted = [PurePosixPath(path).parts]
    if path in part.also_named:
        wanted.append(PurePosixPath(part.also_named[path]).parts)
    for place in _upper(tree):
        parts = place.relative_to(tree).parts
        if any(parts[-len(names) :] == names for names in wanted):
            return place
    return None


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
    if link:
        target.symlink_to(found.resolve())
    else:
        os.replace(found, target)


def _upper(tree: Path) -> Iterator[Path]:
    """Yield what lies in the upper folders of a tree, level by level, in order of names."""
    level = [tree]
    for _ in range(DEPTH):
        below: list[Path] = []
        for folder in level:
            for path in sorted(folder.iterdir()):
                yield path
                if path.is_dir() and not path.is_symlink():
                    below.append(path)
        level = below
