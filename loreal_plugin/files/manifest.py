"""Hashes of files that a record vouches for: taken when they are written, compared when read."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from loreal_plugin.digests import digest_file
from loreal_plugin.files.atomic import sync
from loreal_plugin.files.checked_json import read_checked

SUMS = "SHA256SUMS"
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


def vouched_damage(folder: Path, path: Path) -> str:
    """Return what is wrong with a file that a folder's record vouches for, "" where nothing is.

    A folder without a record, or whose record does not name the file, vouches for nothing.
    """
    hashes = read_checked(folder / "results.json")[0].get("files") or {}
    name = path.relative_to(folder).as_posix()
    found = damage(folder, {name: hashes[name]}) if name in hashes else []
    return found[0] if found else ""


def read_sums(path: Path) -> dict[str, str] | None:
    """Return the hashes by name that a SHA256SUMS lists; None where a line is of another form.

    Raises:
        OSError: it cannot be read.
    """
    lines = path.read_bytes().decode("utf-8", errors="replace").splitlines()
    found = {line[66:]: line[:64] for line in lines if re.match(r"[0-9a-f]{64}  .", line)}
    return found if len(found) == len(lines) else None


def damage(root: Path, hashes: Mapping[str, str]) -> list[str]:
    """Return a text for each file below `root` that is not what its hash says, by name.

    A name that leads out of the folder, or to a device or a pipe, is not opened.
    """
    found = []
    for name, sha256 in sorted(hashes.items()):
        path = root / name
        try:
            fault = _unfit(root, path) or (
                "" if digest_file(path) == sha256 else "is not what was written"
            )
        except FileNotFoundError:
            fault = "is gone"
        except OSError as error:
            fault = f"cannot be read ({error.strerror})"
        if fault:
            found.append(f"{path} {fault}")
    return found


def _unfit(root: Path, path: Path) -> str:
    """Return why a path that a record names is not to be opened, "" where it is."""
    if not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(root)):
        return "lies outside its folder"
    kind = path.stat().st_mode
    return "" if stat.S_ISREG(kind) or stat.S_ISDIR(kind) else "is a pipe or a device"
