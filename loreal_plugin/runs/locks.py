"""One process at a time in a stage folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout

from loreal_plugin.errors import LorealError
from loreal_plugin.files.locks import shared_lock
from loreal_plugin.runs.folders import lock_file


@contextmanager
def stage_lock(folder: Path, say: Callable[[str], None] = print) -> Iterator[None]:
    """Hold the folder's lock; while another process holds it, say so once and wait.

    The operating system frees the lock of a killed process, so a stale lock file does no harm.

    Raises:
        LorealError: the lock file cannot be made.
    """
    path = lock_file(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = shared_lock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"another run is working on {folder}; waiting for it (interrupt to give up)")
            lock.acquire()
    except OSError as error:
        reason = error.strerror or error
        raise LorealError(
            f"cannot lock {path}: {reason}; set OUT to a folder with space that you may write"
        ) from error
    try:
        yield
    finally:
        lock.release()
