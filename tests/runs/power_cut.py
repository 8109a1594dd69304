"""A disk that keeps nothing which was not brought to it, and what is left of it at any moment."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from loreal_plugin.files.checked_json import parse_checked
from loreal_plugin.results.record import RESULTS, STARTED


class Disk:
    """Watches `os.fsync` and `os.replace` below a folder; judges every moment before a rename.

    Two disks are thought of. The first lost every name that its folder was not synced for; the
    second has all names, and nothing in files that were not synced.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.cuts = root, 0
        self._content: dict[int, bytes] = {}  # by inode, as it was synced
        self._kept: dict[str, bytes] = {}  # by path: names and contents that are on the disk
        self._waiting: dict[str, int] = {}  # path -> inode: renamed, its folder not synced
        self.faults: list[str] = []

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Replace the two calls."""
        fsync, replace = os.fsync, os.replace

        def watched_fsync(handle: int) -> None:
            fsync(handle)
            path = os.readlink(f"/proc/self/fd/{handle}")
            if os.path.isdir(path):
                self._sync_names(path)
            else:
                self._content[os.fstat(handle).st_ino] = Path(path).read_bytes()

        def watched_replace(old: Any, new: Any, **more: Any) -> None:
            self._cut()
            inode = os.stat(old).st_ino
            replace(old, new, **more)
            self._waiting[str(new)] = inode
            self._cut()

        patch.setattr(os, "fsync", watched_fsync)
        patch.setattr(os, "replace", watched_replace)

    def _sync_names(self, folder: str) -> None:
        for path in [path for path in self._waiting if os.path.dirname(path) == folder]:
            self._kept[path] = self._content.get(self._waiting.pop(path), b"")

    def _cut(self) -> None:
        """Judge both disks as they would be now."""
        self.cuts += 1
        renamed = {path: self._content.get(node, b"") for path, node in self._waiting.items()}
        for disk in (self._kept, self._kept | renamed):
            for path, content in disk.items():
                if os.path.basename(path) in (RESULTS, STARTED) and content:
                    self._judge(path, content, disk)

    def _judge(self, path: str, content: bytes, disk: dict[str, bytes]) -> None:
        """Note files that a record vouches for and that the disk does not have."""
        record, fault = parse_checked(content)
        if fault:
            self.faults.append(f"{path} {fault}")
        for name, sha256 in (record.get("files") or {}).items():
            found = disk.get(os.path.join(os.path.dirname(path), name))
            if found is None or hashlib.sha256(found).hexdigest() != sha256:
                self.faults.append(f"{path} vouches for {name}, which is not on the disk")


def vouched(root: Path) -> int:
    """Return how many files the records below a folder vouch for."""
    return sum(len(json.loads(p.read_text()).get("files", ())) for p in root.rglob(RESULTS))
