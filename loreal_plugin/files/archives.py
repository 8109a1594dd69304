"""Unpacking archives from elsewhere: nothing is written outside the folder that was named.

Plain files and folders alone are unpacked. Paths that lead out of the folder, links, devices and
archives that grow far beyond their own size are refused. What was unpacked before a fault was seen
is left for the caller, who unpacks into a folder of its own.
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from loreal_plugin.errors import ArchiveError

# pictures hardly become smaller in an archive: what grows more than this is a decompression bomb
MOST_GROWTH = 30
ALWAYS_ALLOWED = 64 << 20  # bytes that any archive may unpack to
_BLOCK = 1 << 20
# a zip with a password is a RuntimeError
_DAMAGE = (
    EOFError,
    LZMAError,
    RuntimeError,
    ValueError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
_CLASH = (FileExistsError, IsADirectoryError, NotADirectoryError)


class _Member(NamedTuple):
    """One entry: its name, `file`, `folder` or what else it is, and how its bytes are read."""

    name: str
    kind: str
    open: Callable[[], IO[bytes] | None]


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip, or a tar of any compression, by its content."""
    return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))


def unpack(archive: Path, into: Path) -> None:
    """Unpack a zip or tar into a folder, which is new or has no links in it.

    Raises:
        ArchiveError: it is no archive, damaged, or holds what is refused.
        OSError: the disk is full, or the folder cannot be written.
    """
    left = max(ALWAYS_ALLOWED, MOST_GROWTH * archive.stat().st_size)
    into.mkdir(parents=True, exist_ok=True)
    try:
        with _members(archive) as members:
            for member in members:
                left -= _write(member, into, archive, left)
    except _DAMAGE as error:
        raise ArchiveError(f"{archive} is damaged or no archive ({error}); get it again") from error
    except _CLASH as error:
        raise ArchiveError(f"{archive} has a file and a folder of one name; refused") from error
    except OSError as error:
        if error.errno is not None:  # the disk's; gzip and bz2 give none
            raise
        raise ArchiveError(f"{archive} is damaged ({error}); get it again") from error


def _write(member: _Member, into: Path, archive: Path, left: int) -> int:
    """Write one entry; return its bytes.

    Raises:
        ArchiveError: it is refused, or larger than `left`.
    """
    path = into / _inside(member.name, archive)
    if member.kind == "folder":
        path.mkdir(parents=True, exist_ok=True)
        return 0
    source = member.open() if member.kind == "file" else None
    if source is None:
        raise ArchiveError(f"{archive}: '{member.name}' is a {member.kind}, not a file; refused")
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with source, open(path, "wb") as target:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > left:
                raise ArchiveError(
                    f"{archive} unpacks to more than {MOST_GROWTH} times its size (a decompression"
                    " bomb?); refused"
                )
            target.write(block)
    return written


def _inside(name: str, archive: Path) -> PurePosixPath:
    """Return a relative path that stays below the folder; ArchiveError where it would not."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ArchiveError(f"{archive}: '{name}' leads out of the folder; refused")
    return path


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    """Yield the entries of a zip or tar."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield (_zip_member(packed, facts) for facts in packed.infolist())
    else:
        with tarfile.open(archive) as packed:
            yield (_tar_member(packed, facts) for facts in packed)
            # the checksum of a compressed tar stands at its very end
            while packed.fileobj is not None and packed.fileobj.read(_BLOCK):
                pass


def _zip_member(packed: zipfile.ZipFile, facts: zipfile.ZipInfo) -> _Member:
    mode = stat.S_IFMT(facts.external_attr >> 16)  # 0 where the packer was not a Unix
    kind = "folder" if facts.is_dir() else "file"
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "link" if mode == stat.S_IFLNK else "device"
    return _Member(facts.filename, kind, lambda: packed.open(facts))


def _tar_member(packed: tarfile.TarFile, facts: tarfile.TarInfo) -> _Member:
    kind = "file" if facts.isreg() else "folder" if facts.isdir() else "device"
    if facts.issym() or facts.islnk():
        kind = "link"
    return _Member(facts.name, kind, lambda: packed.extractfile(facts))
