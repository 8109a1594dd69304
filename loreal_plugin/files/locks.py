"""Locks between processes, in files that everybody may lock whom the umask lets write."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from filelock import FileLock


def shared_lock(path: Path) -> FileLock:
    """Return a lock, not yet held; its file has the mode that the umask leaves of 0o666.

    filelock itself sets 0o644, whatever the umask: a second user of a shared folder could not lock.
    """
    return FileLock(str(path), mode=0o666 & ~_umask())


@cache
def _umask() -> int:
    """Return the umask; it can be read only by setting it, so this is done once."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
