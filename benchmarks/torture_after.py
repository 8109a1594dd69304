"""What is done with a finished run, killed at random moments, for `torture.py`."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from functools import partial
from pathlib import Path

from torture_kills import counted, killed
from torture_world import Row, World, differences, leftovers

EXPORTS = ("onnx", "onnxscript", "onnxruntime", "loreal_plugin.export.export_run")


def tests(world: World, wanted: int, draw: random.Random) -> Row:
    """Kill tests of a finished run (`--test-only`): its records have to stay, or come again."""
    row, sent = Row("killed, tests alone", ""), Counter()
    words = [*world.run, "--test-only"]
    seconds, code = timed(world, words, copied(world, "tests"))
    row.faults += [f"tests ended with {code}"] if code else []
    while sent.total() < wanted:
        out = copied(world, f"tests-{row.stories}")
        times = min(draw.randint(2, 6), wanted)
        signals, faults = killed(world, out, words, times, draw, seconds=seconds, fresh=False)
        row.faults += faults + differences(world.quiet, out) + leftovers(out)
        row.stories += 1
        sent.update(signals)
        shutil.rmtree(out)
    row.number = counted(sent)
    return row


def exports(world: World, wanted: int, draw: random.Random) -> Row:
    """Kill exports, to a new place and over an older package: it is whole or not there."""
    world.prepare(EXPORTS)
    row, sent = Row("killed, exports", ""), Counter()
    (run,) = world.quiet.glob("base2new/train_base/pics/shots_2/CoOp_LOREAL/phi32/*/seed1")
    words = ["export", str(run), "--check", "4"]
    quiet = world.folder / "quiet-export" / "package"  # its card has its name
    seconds, code = timed(world, words, quiet)
    row.faults += [f"the export ended with {code}"] if code else []
    while sent.total() < wanted:
        out = world.folder / f"export-{row.stories}" / "package"
        if row.stories % 2:
            shutil.copytree(quiet, out)
        check = partial(not_whole, quiet, out)
        signals, faults = killed(world, out, words, 1, draw, seconds=seconds, check=check)
        row.faults += faults + not_whole(quiet, out) + ([] if out.is_dir() else [f"{out} is gone"])
        row.faults += [f"{p} was left" for p in out.parent.iterdir() if p != out]
        row.stories += 1
        sent.update(signals)
        shutil.rmtree(out.parent)
    row.number = counted(sent)
    return row


def copied(world: World, name: str) -> Path:
    """Return a copy of the quiet run."""
    return shutil.copytree(world.quiet, world.folder / name)


def timed(world: World, words: list[str], out: Path) -> tuple[float, int]:
    """Return the seconds of an undisturbed command, and its exit code."""
    start = time.perf_counter()
    code = world.wait(world.fork(words, out))
    return time.perf_counter() - start, code


def not_whole(quiet: Path, out: Path) -> list[str]:
    """Return in what a package differs from another one; nothing where it is not there."""
    if not out.exists():
        return []
    found = []
    for path in (path for path in quiet.rglob("*") if path.is_file()):
        other = out / path.relative_to(quiet)
        if not other.is_file() or other.read_bytes() != path.read_bytes():
            found.append(f"{other} differs")
    more = {p.relative_to(out) for p in out.rglob("*")} - {
        p.relative_to(quiet) for p in quiet.rglob("*")
    }
    return found + [f"{out / name} is too much" for name in sorted(map(os.fspath, more))]
