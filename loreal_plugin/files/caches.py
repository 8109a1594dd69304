"""What is said of a cache that cannot be used: a run goes on without it."""

from __future__ import annotations

from pathlib import Path

from loreal_plugin.errors import LorealError
from loreal_plugin.files.atomic import is_read_only

_reasons_told: set[str] = set()


def without_cache(place: Path, error: OSError | LorealError) -> None:
    """Say that a cache cannot be written, once a process for each reason.

    Args:
        place: the folder of the cache.
        error: what the file system said, or an error of ours that it caused.

    Raises:
        LorealError: it has another cause: the error itself.
    """
    cause = error if isinstance(error, OSError) else error.__cause__
    if not isinstance(cause, OSError):
        raise error
    reason = "it may only be read" if is_read_only(cause) else cause.strerror or str(cause)
    if reason not in _reasons_told:
        _reasons_told.add(reason)
        print(
            f"warning: the cache {place} cannot be written ({reason}); the run goes on without it."
            " LOREAL_CACHE names another folder",
            flush=True,
        )
