"""Writing a file so that a reader, and a machine that lost its power, has the old or the new one.

A file is prepared beside its place as `.<name>.<random>.part`, brought to the disk and renamed. The
writer holds a lock on it: a prepared file without a lock was left by a process that was killed, and
the next write to the same place removes it.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from loreal_plugin.errors import LorealError

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def replacing(path: Path, *, mode: int | None = None, durable: bool = True) -> Iterator[Path]:
    """Yield an empty file beside `path`; after the block it takes the place of `path`.

    The folder is made. When the block or the renaming fails, `path` stays as it was and the
    prepared file is gone.

    Args:
        mode: permission bits; None: what the umask leaves of 0o666.
        durable: wait until the disk has the file and its name. False is for many small files that
            are checked on use.

    Raises:
        OSError: it cannot be written (disk full, no permission).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if durable:
        remove_unfinished(path)
    lock, part = prepared(path, _new_file)
    try:
        yield part
        if mode is not None:
            os.chmod(part, mode)
        if durable:
            sync(part)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(lock)
    if durable:
        _sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; see `replacing`.

    Raises:
        LorealError: it cannot be written (disk full, no permission).
    """
    try:
        with replacing(path) as part:
            part.write_bytes(content)
    except OSError as error:
        raise LorealError(
            f"cannot write {path}: {error.strerror or error}; free some space or set OUT"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8; see `write_bytes`.

    Bytes of a file's name that are no UTF-8 become `\\udce9`, which JSON reads back as they were.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, one line for each entry; see `write_bytes`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON object, or None where there is none that can be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_link(path: Path, target: Path) -> None:
    """Put a symbolic link to `target` in the place of `path`, in one step.

    Raises:
        OSError: it cannot be made.
    """
    part = _part_name(path)
    try:
        os.symlink(target, part)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_unfinished(path: Path) -> None:
    """Remove what killed processes prepared for `path`; what a living one writes stays."""
    for name in glob.iglob(f".{glob.escape(path.name)}.*.part", root_dir=path.parent):
        part = path.parent / name
        if part.is_symlink():  # made and renamed in two steps, without a lock
            part.unlink(missing_ok=True)
        else:
            _remove_unlocked(part)


def remove_leftovers(folder: Path, *, below: bool = False) -> None:
    """Remove every file in a folder that a killed process was preparing.

    Args:
        below: also in the folders below it.
    """
    name = f".*.{'[0-9a-f]' * 8}.part"
    for part in folder.rglob(name) if below else folder.glob(name):
        _remove_unlocked(part)


def is_read_only(error: OSError) -> bool:
    """Return whether an error says that a place may only be read, and not that it is full."""
    return error.errno in _READ_ONLY


def _part_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def _new_file(part: Path) -> int:
    return os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


def prepared(path: Path, create: Callable[[Path], int]) -> tuple[int, Path]:
    """Return a lock's handle, and the new, empty file or folder beside `path` that it locks.

    Args:
        create: makes it under a name, and returns an open handle of it.
    """
    while True:
        part = _part_name(path)
        handle = create(part)
        with suppress(OSError):  # a file system without locks: nobody finds ours unlocked either
            fcntl.flock(handle, fcntl.LOCK_EX)
        # between the two calls another writer may have taken it for a dead one's
        if part.exists():
            return handle, part
        os.close(handle)


def _remove_unlocked(part: Path) -> None:
    """Remove a prepared file unless a living process writes it, or may do so."""
    with suppress(OSError):  # gone by now, another user's, locked, or locks are unknown here
        handle = os.open(part, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()  # under the lock, so that its writer sees it
        finally:
            os.close(handle)


def sync(path: Path) -> None:
    """Wait until the disk has a file's content, or a folder's names.

    Raises:
        OSError: the disk cannot say so.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Wait until the disk has a folder's names, where the file system can do that."""
    # the new file is in place by now: an error here must not say that it is not
    with suppress(OSError):
        sync(folder)
