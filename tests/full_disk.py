"""A disk that is full from the n-th write on, made of Python's own calls for files."""

from __future__ import annotations

import builtins
import errno
import io
import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

_WRITES = set("wax+")


class FullDisk:
    """Counts what is written below a folder, and refuses it from one number on.

    Counted are new folders, new files, each piece that a file hands to the disk, syncs and renames.
    The first piece that is refused is written by half. Reading and removing go on.

    Args:
        root: the folder.
        room: so many writes are taken; None: all are.
    """

    def __init__(self, root: Path, room: int | None = None) -> None:
        self.root, self.room = str(root), room
        self._shared = mmap.mmap(-1, 8)  # a forked process counts for its parent, too
        self._calls = {name: getattr(os, name) for name in ("open", "mkdir", "fsync", "replace")}
        self._open = builtins.open

    @property
    def count(self) -> int:
        """How many writes there were, refused ones included."""
        return struct.unpack("q", self._shared[:])[0]

    def install(self, put: Callable[[Any, str, Any], None] = setattr) -> None:
        """Replace the calls; `put` is `setattr`, or that of a MonkeyPatch."""
        put(os, "open", self._os_open)
        put(os, "mkdir", self._mkdir)
        put(os, "fsync", self._fsync)
        put(os, "replace", self._replace)
        for module in (builtins, io):
            put(module, "open", self._opened)

    def write(self, path: object) -> None:
        """Count a write, and raise where there is no room for it."""
        number = self.count + 1
        self._shared[:] = struct.pack("q", number)
        if self.room is not None and number > self.room:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    def _below(self, path: Any) -> bool:
        return isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(self.root)

    def _os_open(self, path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & os.O_CREAT and self._below(path):
            self.write(path)
        return self._calls["open"](path, flags, *args, **kwargs)

    def _mkdir(self, path: Any, *args: Any, **kwargs: Any) -> None:
        if self._below(path) and not os.path.exists(path):
            self.write(path)
        self._calls["mkdir"](path, *args, **kwargs)

    def _fsync(self, handle: int) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}")
        if self._below(path):
            self.write(path)
        self._calls["fsync"](handle)

    def _replace(self, old: Any, new: Any, **kwargs: Any) -> None:
        if self._below(new):
            self.write(new)
        self._calls["replace"](old, new, **kwargs)

    def _opened(self, file: Any, mode: str = "r", buffering: int = -1, *more: Any, **named: Any):
        if not (_WRITES & set(mode) and self._below(file)):
            return self._open(file, mode, buffering, *more, **named)
        raw = _Pieces(self, file, mode.replace("b", "").replace("t", ""))
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return raw if buffering == 0 else buffered
        names = dict(zip(("encoding", "errors", "newline"), more, strict=False)) | named
        text = io.TextIOWrapper(buffered, **names)
        text.mode = mode
        return text


class _Pieces(io.FileIO):
    """A file whose pieces are counted."""

    def __init__(self, disk: FullDisk, file: Any, mode: str) -> None:
        if not os.path.exists(file):
            disk.write(file)
        super().__init__(file, mode)
        self._disk = disk

    def write(self, piece: Any) -> int:
        """Hand a piece to the disk, or the half of it that there is room for."""
        try:
            self._disk.write(self.name)
        except OSError:
            if self._disk.count == self._disk.room + 1:
                super().write(bytes(piece)[: len(piece) // 2])
            raise
        return super().write(piece)
