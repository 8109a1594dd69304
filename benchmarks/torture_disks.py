"""Disks that are full or can only be read, for `torture.py`; mounting them needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from full_disk import FullDisk
from torture_world import Row, World, differences, leftovers


class DiskStories:
    """Runs whose output folder or cache lies on a small or a read-only disk."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.place = world.folder / "disk"
        self.place.mkdir()

    def rows(self, sizes: int) -> list[Row]:
        """Return what was done and found; one row that says so where nothing can be mounted."""
        if not self._can_mount():
            return [Row("full and read-only disks", "left out: no right to mount")]
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

    def _full_out(self, sizes: int) -> Row:
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
        what = "OUT filled while it runs, then room again"
        return Row(what, f"{stopped} stopped", sizes, faults)

    def _full_cache(self, sizes: int) -> Row:
        """Fill the cache's disk: the run has to go on without it."""
        world, faults = self.world, []
        for number in range(sizes):
            out = world.folder / f"full-cache-{number}"
            with self._disk(f"{16 * (number + 1)}k") as cache:
                code = world.wait(world.fork(world.run, out, LOREAL_CACHE=str(cache)))
            faults += [f"full cache: {code}"] if code else []
            faults += differences(world.quiet, out)
            shutil.rmtree(out, ignore_errors=True)
        return Row("cache full", f"{sizes} sizes", sizes, faults)

    def _read_only_cache(self) -> Row:
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
        return Row("cache read-only, empty and filled", "2 runs", 2, faults)


def full_at_each_write(world: World, places: int) -> Row:
    """Let the output's disk be full from one write on; all writes are tried where `places` allows.

    The process has to stop with one line, and leave nothing half written; with room again the same
    command gives the same.
    """
    out = world.folder / "full-at"
    disk = FullDisk(out)
    assert world.wait(world.fork(world.run, out, before=disk.install)) == 0
    writes, faults = disk.count, differences(world.quiet, out)
    shutil.rmtree(out)
    step = max(1, writes // places)
    chosen = range(step // 2, writes, step)
    for room in chosen:
        code = world.wait(world.fork(world.run, out, before=FullDisk(out, room).install))
        faults += [f"full from write {room + 1} on: ended with {code}"] if code != 2 else []
        faults += leftovers(out)
        code = world.wait(world.fork(world.run, out))
        faults += [f"with room again: {code}"] if code else []
        faults += differences(world.quiet, out) + leftovers(out)
        shutil.rmtree(out, ignore_errors=True)
    number = f"at {len(chosen)} of {writes} writes"
    return Row("OUT full from one write on, then room again", number, len(chosen), faults)
