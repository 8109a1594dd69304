"""Runs and sweeps that are killed at random moments, for `torture.py`."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from torture_world import Row, World, differences, leftovers

FEW = 5  # with so few kills, only one kind of run is killed
SIGNALS = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}


def killed(
    world: World,
    out: Path,
    words: list[str],
    kills: int,
    draw: random.Random,
    *,
    seconds: float = 0.0,
    fresh: bool = True,
    check: Callable[[], list[str]] = list,
) -> tuple[Counter[str], list[str]]:
    """Run a command until it has been killed `kills` times, then to its end.

    Returns signals that were sent, by name, and what went wrong.

    Args:
        seconds: what an undisturbed one takes; 0: as a run.
        fresh: where it was faster than the signal, what it made is removed.
        check: what is wrong with what a killed one left.
    """
    sent: Counter[str] = Counter()
    faults: list[str] = []
    while sent.total() < kills:
        number = draw.choice(list(SIGNALS))
        process = world.fork(words, out)
        time.sleep(draw.uniform(0.0, seconds or world.seconds))
        if world.ended(process):  # it was faster than the signal
            code = world.wait(process)
            if code:
                faults.append(f"{out}: ended with {code}")
            if fresh:
                shutil.rmtree(out, ignore_errors=True)
            continue
        os.kill(process, number)
        code = world.wait(process)
        if code not in (0, SIGNALS[number]):
            faults.append(f"{out}: {signal.Signals(number).name} ended with {code}")
        sent[signal.Signals(number).name] += 1
        faults += check()
    code = world.wait(world.fork(words, out))
    return sent, faults + ([f"{out}: went on and ended with {code}"] if code else [])


def counted(sent: Counter[str]) -> str:
    """Return how many signals were sent, in words."""
    return ", ".join(f"{number} {name}" for name, number in sorted(sent.items()))


SHARES = (("cold caches", 0.45), ("warm caches", 0.35), ("two processes", 0.2))


def kills(world: World, wanted: int, draw: random.Random) -> list[Row]:
    """Kill runs at random moments, with cold and warm caches and two processes on one folder."""
    rows = []
    for what, share in SHARES if wanted > FEW else (("warm caches", 1.0),):
        row = Row(f"killed, {what}", "")
        sent: Counter[str] = Counter()
        while sent.total() < share * wanted:
            out = world.folder / f"kill-{what.split()[0]}-{row.stories}"
            if what == "cold caches":
                world.empty_caches()
            times = min(draw.randint(2, 6), wanted)
            other = world.fork(world.run, out) if what == "two processes" else None
            signals, faults = killed(world, out, world.run, times, draw)
            if other is not None:
                if not world.ended(other):
                    os.kill(other, signal.SIGKILL)
                world.wait(other)
                faults += [f"two: {n}" for n in [world.wait(world.fork(world.run, out))] if n]
            row.faults += faults + differences(world.quiet, out) + leftovers(out)
            row.stories += 1
            sent.update(signals)
            shutil.rmtree(out)
        row.number = counted(sent)
        rows.append(row)
    return rows


def sweeps(world: World, wanted: int, draw: random.Random) -> Row:
    """Kill sweeps of two processes, which take longer to start: their limit is their own."""
    row, sent = Row("killed, sweep with --jobs 2", ""), 0
    plan = world.folder / "plan.yaml"
    plan.write_text(world.plan())
    for number in range(wanted):
        out = world.folder / f"sweep-{number}"
        words = ["sweep", str(plan), "--jobs", "2"]
        process = world.fork(words, out)
        time.sleep(draw.uniform(3.0, 12.0))
        if not world.ended(process):
            os.kill(process, draw.choice([signal.SIGKILL, signal.SIGINT, signal.SIGTERM]))
            sent += 1
        world.wait(process)
        time.sleep(1.0)  # its processes end when they see that it is gone
        code = world.wait(world.fork(words, out))
        row.faults += [f"sweep ended with {code}"] if code else []
        row.faults += differences(world.quiet, out) + leftovers(out)
        row.stories += 1
        shutil.rmtree(out)
    row.number = f"{sent} signals"
    return row
