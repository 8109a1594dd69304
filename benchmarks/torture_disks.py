"""Disks that are full or can only be read, for `torture.py`; mounting them needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
        """Fill the output's disk in the middle of a run; then make room and go on."""
        world, faults, stopped = self.world, [], 0
        for number in range(sizes):
            with self._disk("64m") as out:
                process = world.fork(world.run, out)
                time.sleep(world.seconds * number / sizes)
                left = 4096 * (number % 4)
                ballast = out / "ballast"
                room = shutil.disk_usage(out).free - left
                with suppress(OSError):
                    ballast.write_bytes(bytes(max(room, 0)))
                code = world.wait(process)
                stopped += code != 0
                faults += [f"full disk: ended with {code}"] if code not in (0, 2) else []
                ballast.unlink(missing_ok=True)
                code = world.wait(world.fork(world.run, out))
                faults += [f"with room again: {code}"] if code else []
                faults += differences(world.quiet, out) + leftovers(out)
        return "OUT filled while it runs, then room again", f"{stopped} stopped", sizes, faults

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
