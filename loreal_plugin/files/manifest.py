"""Hashes of files that a record vouches for: taken when they are written, compared when read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from loreal_plugin.files.atomic import sync
from loreal_plugin.files.digests import digest_file

Stamp = tuple[int, int]


class Manifest:
    """Files below a folder with their SHA-256; a file that has not changed is hashed once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._seen: dict[Path, tuple[Stamp, str]] = {}

    def hashes(self, files: Iterable[Path]) -> dict[str, str]:
        """Return hashes by path below the folder, once the disk has the files and their names.

        Raises:
            OSError: one cannot be read.
        """
        found = {}
        for path in sorted(files):
            status = path.stat()
            stamp = status.st_size, status.st_mtime_ns
            known = self._seen.get(path)
            if known is None or known[0] != stamp:
                sync(path)
                sync(path.parent)
                known = stamp, digest_file(path)
                self._seen[path] = known
            found[path.relative_to(self.root).as_posix()] = known[1]
        return found


def damage(root: Path, hashes: Mapping[str, str]) -> list[str]:
    """Return a text for each file below `root` that is not what its hash says, by name."""
    found = []
    for name, sha256 in sorted(hashes.items()):
        path = root / name
        try:
            fault = "" if digest_file(path) == sha256 else "is not what was written"
        except FileNotFoundError:
            fault = "is gone"
        except OSError as error:
            fault = f"cannot be read ({error.strerror})"
        if fault:
            found.append(f"{path} {fault}")
    return found
