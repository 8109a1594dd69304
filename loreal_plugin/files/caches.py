"""Folders of a cache: how much they hold, and what is said of one that cannot be used."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from loreal_plugin.errors import ConfigError, LorealError
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


def limit_mb(variable: str, default: int, env: Mapping[str, str] = os.environ) -> int:
    """Return how many MB a cache may take by a variable of the environment; 0: it is not used.

    Raises:
        ConfigError: the variable is no whole number of at least 0.
    """
    text = env.get(variable, "").strip() or str(default)
    if not text.isdecimal():
        raise ConfigError(f"{variable} must be a whole number of MB (0: keep none), not '{text}'")
    return int(text)


def prune(where: Path, limit: int, keep: Collection[str] = ()) -> None:
    """Remove the entries that were written first until a folder holds at most `limit` MB.

    Args:
        keep: names of entries that stay, whatever they take.

    Raises:
        OSError: an entry cannot be removed.
    """
    entries = []
    for path in where.glob("*.safetensors"):
        with suppress(FileNotFoundError):  # another process removes them, too
            facts = path.stat()
            entries.append((facts.st_mtime, facts.st_size, path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= limit * 2**20:
            return
        if path.stem in keep:
            continue
        total -= size
        # the note first: without it there is no entry, whoever looks meanwhile
        for part in (".json", ".safetensors", ".seconds", ".lock"):
            path.with_suffix(part).unlink(missing_ok=True)
