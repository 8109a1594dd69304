"""Pictures inside tar files, as WebDataset keeps them: found once, then read where they lie.

A shard of WebDataset is a plain tar file; of each of its samples only the picture is used. Nothing
is unpacked to the disk, and no member is trusted to say where it goes.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from loreal_plugin.adapt.pictures import unlabelled_pictures
from loreal_plugin.errors import DataError
from loreal_plugin.files.listing import PICTURE_ENDINGS, visible_below
from loreal_plugin.pictures import decode, read_picture

TAR = ".tar"


@dataclass(frozen=True)
class TarPicture:
    """One picture of a tar file: `size` bytes from `offset` on."""

    tar: Path
    member: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.tar}::{self.member}"


Source = str | TarPicture


def sources_below(folder: Path, name: str) -> list[Source]:
    """Return the pictures below a folder in a fixed order: files, then members of tar files.

    Args:
        name: what the user calls the folder, for the message.

    Raises:
        DataError: no such folder, no picture in it, or a tar file that cannot be read.
    """
    folder = folder.expanduser()
    shards = sorted(map(Path, visible_below(folder, (TAR,))))
    inside = [picture for shard in shards for picture in _members(shard)]
    # without a picture in any tar file, the error of `unlabelled_pictures` is the right one
    files = unlabelled_pictures(folder, name, needed=not inside)
    return [*(str(path) for path in files), *inside]


def _members(shard: Path) -> list[TarPicture]:
    """Return the visible pictures of a tar file, in its order.

    Raises:
        DataError: it is no plain tar file, or is cut off.
    """
    try:
        with tarfile.open(shard, "r:") as archive:
            found = [
                TarPicture(shard, member.name, member.offset_data, member.size)
                for member in archive
                if member.isreg() and _is_picture(member.name)
            ]
    except (tarfile.TarError, OSError) as error:
        raise DataError(
            f"'{shard}' is no plain tar file ({error}); shards have to be .tar, not compressed:"
            " make it anew, or move it out of the folder"
        ) from error
    if found and found[-1].offset + found[-1].size > shard.stat().st_size:
        raise DataError(f"'{shard}' is cut off: '{found[-1].member}' is not whole; fetch it again")
    return found


def _is_picture(member: str) -> bool:
    """Return whether a member's name is that of a visible picture.

    Macs put a file `._a.jpg` of another kind beside each `a.jpg`.
    """
    hidden = any(part.startswith(".") and part != ".." for part in PurePosixPath(member).parts)
    return member.lower().endswith(PICTURE_ENDINGS) and not hidden


def open_source(source: Source) -> Image.Image:
    """Return a picture, upright, in 8-bit RGB; DataError names one that cannot be read."""
    if isinstance(source, str):
        return read_picture(source)
    try:
        with source.tar.open("rb") as file:
            file.seek(source.offset)
            return decode(file.read(source.size))
    except (DataError, OSError) as error:
        raise DataError(f"picture '{source}' cannot be read: {error}; remove it") from error


def identity_of(source: Source, root: Path) -> list[str | int]:
    """Return what a picture is known by: its name below the folder, and its size in bytes."""
    if isinstance(source, str):
        return [Path(source).relative_to(root).as_posix(), os.stat(source).st_size]
    return [f"{source.tar.relative_to(root).as_posix()}::{source.member}", source.size]


def stamps_of(sources: Sequence[Source], root: Path) -> list[list[str | int]]:
    """Return what tells pictures of equal names apart without reading them.

    Each has its identity, where it lies in a tar file, and when its file was changed (ns).
    """
    places = [(s, 0) if isinstance(s, str) else (s.tar, s.offset) for s in sources]
    changed = {file: os.stat(file).st_mtime_ns for file in {file for file, _ in places}}
    return [
        [*identity_of(source, root), offset, changed[file]]
        for source, (file, offset) in zip(sources, places, strict=True)
    ]
