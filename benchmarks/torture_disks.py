"""Disks that are full or can only be read, for `torture.py`; mounting them needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torture_world import World, differences, leftovers

Found = tuple[str, str, int, list[str]]


class DiskStories:
    """Runs whose output folder or cache lies on a small or a read-only disk."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.place = world.folder / "disk"
        self.place.mkdir()

    def rows(self, sizes: int) -> list[Found]:
        """Return what was done and found; one row that says so where nothing can be mounted."""
        if not self._can_mount():
            return [("full and read-only disks", "left out: no right to mount", 0, [])]
        return [self._full_out(sizes), self._full_cache(sizes), self._read_only_cache()]

    def _can_mount(self) -> bool:
        try:
            with self._disk("64k"):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False

    @contextmanager
    def _disk(self, size: str) -> Iterator[Path]:
        """Give a folder on a disk of its own."""
        options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self.place)]
        subprocess.run(["mount", *options], check=True, capture_output=True)
        try:
            yield self.place
        finally:
            subprocess.run(["umount", "-l", str(self.place)], check=True, capture_output=True)

    def _full_out(self, sizes: int) -> Found:
        """Fill the output's disk; then give it room and go on."""
        world, faults, stopped = self.world, [], 0
        whole = sum(path.stat().st_size for path in world.quiet.rglob("*") if path.is_file())
        for number in range(sizes):
            size = int(whole * (number + 1) / (sizes + 1)) // 1024
            with self._disk(f"{max(size, 16)}k") as out:
                code = world.wait(world.fork(world.run, out))
                stopped += code != 0
                if code not in (0, 2):
                    faults.append(f"full disk of {size} kB ended with {code}")
                os.system(f"mount -o remount,size=64m {out}")
                code = world.wait(world.fork(world.run, out))
                faults += [f"with room again: {code}"] if code else []
                faults += differences(world.quiet, out) + leftovers(out)
        return f"OUT full ({stopped} runs stopped), then room", f"{sizes} sizes", sizes, faults

    def _full_cache(self, sizes: int) -> Found:
        """Fill the cache's disk: the run has to go on without it."""
        world, faults = self.world, []
        for number in range(sizes):
            out = world.folder / f"full-cache-{number}"
            with self._disk(f"{16 * (number + 1)}k") as cache:
                code = world.wait(world.fork(world.run, out, LOREAL_CACHE=str(cache)))
            faults += [f"full cache: {code}"] if code else []
            faults += differences(world.quiet, out)
            shutil.rmtree(out, ignore_errors=True)
        return "cache full", f"{sizes} sizes", sizes, faults

    def _read_only_cache(self) -> Found:
        """Let the cache only be read, empty and filled."""
        world, faults = self.world, []
        for number, filled in enumerate((False, True)):
            out = world.folder / f"read-only-{number}"
            with self._disk("64m") as cache:
                if filled:
                    shutil.copytree(world.cache, cache, dirs_exist_ok=True)
                os.system(f"mount -o remount,ro {cache}")
                code = world.wait(world.fork(world.run, out, LOREAL_CACHE=str(cache)))
            faults += [f"read-only cache: {code}"] if code else []
            faults += differences(world.quiet, out)
            shutil.rmtree(out, ignore_errors=True)
        return "cache read-only, empty and filled", "2 runs", 2, faults
