"""The pictures of a run: each is read, decoded and hashed once; a memo in the cache makes a second
run fast.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from loreal_plugin.errors import DataError, LorealError
from loreal_plugin.files import digest, read_checked, write_checked
from loreal_plugin.files.caches import without_cache
from loreal_plugin.paths import cache_root
from loreal_plugin.pictures import READING, decode, picture_identity
from loreal_plugin.plain_output import counted

MANY = 2000
EVERY = 10.0  # seconds between two lines of progress
CHUNK = 256


class PictureIndex:
    """Identities (`pictures.picture_identity`) of picture files, of those that could be decoded.

    Args:
        say: prints one line of progress.
    """

    def __init__(self, say: Callable[[str], None] = print) -> None:
        self._say = say
        self._known: dict[str, str] = {}

    def sha256(self, path: str) -> str:
        """Return the identity of a picture that `check` has seen."""
        return self._known[path]

    def check(self, paths: Iterable[str]) -> None:
        """Read every picture that is new or changed since the memo was written.

        Raises:
            DataError: pictures are missing, truncated or no pictures; names the first ones and
                their number.
        """
        wanted = sorted(set(paths) - self._known.keys())
        faults = [f"{path} ({fault})" for path, fault in self.unreadable(wanted).items()]
        if faults:
            raise DataError(
                f"{len(faults)} of {counted(len(wanted), 'picture')} cannot be read:"
                f" {'; '.join(faults[:3])}; replace or remove them"
            )

    def unreadable(self, paths: Iterable[str]) -> dict[str, str]:
        """Read pictures as `check` does; return those that cannot be read, with what is wrong."""
        wanted = sorted(set(paths) - self._known.keys())
        if not wanted:
            return {}
        root = os.path.commonpath([os.path.dirname(path) for path in wanted])
        # what a picture is depends on how it is read: an earlier reading's memo is not believed
        file = cache_root() / "pictures" / f"{digest([root, READING])[:16]}.json"
        memo, _ = read_checked(file)  # whatever is wrong with it, the pictures are read again
        stamps = {path: _stamp(path) for path in wanted}
        changed = [path for path in wanted if not _unchanged(memo.get(path), stamps[path])]
        found, faults = self._read(changed)
        good = [path for path in wanted if path not in faults]
        self._known |= {path: found.get(path) or memo[path][2] for path in good}
        if found:
            memo |= {path: [*stamps[path], sha] for path, sha in found.items()}
            _save(file, memo)
        return faults

    def _read(self, paths: list[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the identities of pictures by path, and what is wrong with the others."""
        if len(paths) > MANY:
            self._say(f"reading {len(paths):,} pictures (once; changed ones again)")
        found: dict[str, str] = {}
        faults: dict[str, str] = {}
        last = time.monotonic()
        # decoding and hashing release the interpreter's lock
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(paths), CHUNK):
                part = paths[start : start + CHUNK]
                for path, (sha, fault) in zip(part, pool.map(_identify, part), strict=True):
                    found |= {} if fault else {path: sha}
                    faults |= {path: fault} if fault else {}
                if time.monotonic() - last > EVERY:
                    last = time.monotonic()
                    self._say(f"  {start + len(part):,} of {len(paths):,}")
        return found, faults


def _identify(path: str) -> tuple[str, str]:
    """Return a picture's identity and what is wrong with it (empty: nothing)."""
    try:
        with open(path, "rb") as file:
            content = file.read()
        decode(content)
    except (DataError, OSError) as error:
        return "", str(error) or type(error).__name__
    return picture_identity(content), ""


def _stamp(path: str) -> tuple[int, int]:
    """Return a file's size and time of change, (-1, -1) where it is missing."""
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _unchanged(entry: object, stamp: tuple[int, int]) -> bool:
    """Return whether a memo's entry (size, time, identity) is of a file with this stamp."""
    return (
        isinstance(entry, list) and len(entry) == 3 and tuple(entry[:2]) == stamp and stamp[0] >= 0
    )


def _save(file: Path, memo: dict[str, object]) -> None:
    """Write the memo; a cache that cannot be written only costs the next run some time."""
    try:
        write_checked(file, memo)
    except LorealError as error:
        without_cache(file.parent, error)
