"""A folder that is made as a whole: prepared beside its place, then renamed.

As with files (`atomic`), the writer holds a lock on what it prepares; without a lock it was left by
a process that was killed, and the next writer of the same place removes it.
"""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from loreal_plugin.files.atomic import prepared, sync

_OLD = "old"


@contextmanager
def preparing(place: Path) -> Iterator[Path]:
    """Yield an empty folder beside `place`, in which its new content is made; then remove it.

    The folder above `place` is made.

    Raises:
        OSError: it cannot be made (disk full, no permission).
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished_folders(place)
    lock, part = prepared(place, _new_folder)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(lock)


def put_in_place(new: Path, place: Path, aside: Path) -> None:
    """Rename what was prepared to its place; a folder that is there moves into `aside`.

    Args:
        aside: from `preparing`; a power cut between the two renames leaves the old one there.

    Raises:
        OSError: it cannot be renamed; what lay there lies there still.
    """
    old = aside / _OLD
    there = place.is_dir()
    if there:
        place.rename(old)
    try:
        new.rename(place)
    except BaseException:
        if there:
            old.rename(place)
        raise
    with suppress(OSError):  # it is in place by now, whatever the disk says
        sync(place.parent)


def remove_unfinished_folders(place: Path) -> None:
    """Remove what killed processes prepared for a place; what a living one prepares stays."""
    for name in glob.iglob(f".{glob.escape(place.name)}.*.part", root_dir=place.parent):
        part = place.parent / name
        with suppress(OSError):  # gone by now, locked, or locks are unknown here
            handle = os.open(part, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(part, ignore_errors=True)
            finally:
                os.close(handle)


def _new_folder(part: Path) -> int:
    part.mkdir()
    return os.open(part, os.O_RDONLY | os.O_DIRECTORY)
