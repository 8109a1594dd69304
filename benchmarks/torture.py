"""Runs are killed, disks filled and bits flipped; what comes out is compared with a quiet run.

    python benchmarks/torture.py --kills 200 --flips 500 [--seed 1] [--write docs/TRUST.md]

A toy (four classes, a random CLIP of three layers, CoOp and LOREAL for two epochs) runs in
processes that are forked from this one. Exit code 0: nothing was lost, and every flip was found.
Full and read-only disks need the right to mount (root); without it they are left out, and the
table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from torture_disks import DiskStories  # noqa: E402  (needs the paths above)
from torture_world import World, differences, flip, kept_files, leftovers  # noqa: E402

FEW = 5  # of so many kills only one kind of story is told
SIGNALS = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}


@dataclass
class Row:
    """What was done in one kind of story, and what went wrong."""

    what: str
    number: str
    stories: int = 0
    faults: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return the row of the table."""
        return f"| {self.what} | {self.number} | {self.stories} | {len(self.faults)} |"


def killed(world: World, out: Path, words: list[str], kills: int, draw: random.Random) -> Any:
    """Run a command until it has been killed `kills` times, then to its end.

    Returns signals that were sent, by name, and what went wrong.
    """
    sent: dict[str, int] = {}
    faults = []
    while sum(sent.values()) < kills:
        number = draw.choice(list(SIGNALS))
        process = world.fork(words, out)
        time.sleep(draw.uniform(0.0, world.seconds))
        if world.ended(process):  # it was faster than the signal
            code = world.wait(process)
            if code:
                faults.append(f"{out}: ended with {code}")
            shutil.rmtree(out, ignore_errors=True)
            continue
        os.kill(process, number)
        code = world.wait(process)
        if code not in (0, SIGNALS[number]):
            faults.append(f"{out}: {signal.Signals(number).name} ended with {code}")
        name = signal.Signals(number).name
        sent[name] = sent.get(name, 0) + 1
    code = world.wait(world.fork(words, out))
    return sent, faults + ([f"{out}: went on and ended with {code}"] if code else [])


SHARES = (("cold caches", 0.45), ("warm caches", 0.35), ("two processes", 0.2))


def kills(world: World, wanted: int, draw: random.Random) -> list[Row]:
    """Kill runs at random moments, with cold and warm caches and two processes on one folder."""
    rows = []
    for what, share in SHARES if wanted > FEW else (("warm caches", 1.0),):
        row, sent = Row(f"killed, {what}", ""), {}
        while sum(sent.values()) < share * wanted:
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
            for name, number in signals.items():
                sent[name] = sent.get(name, 0) + number
            shutil.rmtree(out)
        row.number = ", ".join(f"{number} {name}" for name, number in sorted(sent.items()))
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


def flips(world: World, wanted: int, draw: random.Random) -> Row:
    """Flip one bit at a time in every kind of file; `verify` has to name that file."""
    from loreal_plugin.runs.verify import verify

    out = world.folder / "flips"
    shutil.copytree(world.quiet, out)
    shutil.copytree(world.cache, out / "cache")
    files, found = kept_files(out), 0
    row = Row("bits flipped, one at a time", "", stories=wanted)
    for number in range(wanted):
        path = files[number % len(files)]
        before = path.read_bytes()
        place = draw.randrange(8 * len(before))
        flip(path, place)
        if path in verify(out).damaged:
            found += 1
        else:
            row.faults.append(f"{path} bit {place}")
        path.write_bytes(before)
    row.number = f"{found} of {wanted} found, in {len(files)} files"
    return row


def heals(world: World, wanted: int, draw: random.Random) -> Row:
    """Flip a bit of a finished run and give its command again: the result has to be the same."""
    row = Row("bit flipped, then run again", "", stories=wanted)
    for number in range(wanted):
        out = world.folder / f"heal-{number}"
        shutil.copytree(world.quiet, out)
        files = kept_files(out)  # each in turn
        path = files[number % len(files)]
        flip(path, draw.randrange(8 * path.stat().st_size))
        code = world.wait(world.fork(world.run, out))
        row.faults += [f"{path}: ended with {code}"] if code else []
        row.faults += differences(world.quiet, out)
        shutil.rmtree(out)
    row.number = f"{wanted} runs"
    return row


def table(rows: list[Row], seconds: float, words: list[str]) -> str:
    """Return the table with the command that made it."""
    head = ["| what | how often | stories | faults |", "|---|---|---|---|"]
    minutes = f"`{' '.join(['python benchmarks/torture.py', *words])}`, {seconds / 60:.0f} minutes."
    return "\n".join([*head, *(row.line() for row in rows), "", minutes])


def main(words: list[str]) -> int:
    """Run all stories and print the table; 1 where something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--heals", type=int, default=20)
    parser.add_argument("--sweeps", type=int, default=4)
    parser.add_argument("--disks", type=int, default=10, help="sizes of full disks")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--until", default="", help="last stage of the runs (alpha: short)")
    parser.add_argument("--write", type=Path, help="page whose part 'torture' is replaced")
    parser.add_argument("--json", type=Path, help="file for the rows and all faults")
    args = parser.parse_args(words)
    draw, start = random.Random(args.seed), time.time()
    with tempfile.TemporaryDirectory(prefix="loreal-torture-") as folder:
        world = World(Path(folder), args.until)
        rows = [flips(world, args.flips, draw)] if args.flips else []
        rows += [heals(world, args.heals, draw)] if args.heals else []
        rows += kills(world, args.kills, draw) if args.kills else []
        rows += [sweeps(world, args.sweeps, draw)] if args.sweeps else []
        disks = DiskStories(world)
        rows += [Row(*found) for found in disks.rows(args.disks)] if args.disks else []
    text = table(rows, time.time() - start, words)
    print(text)
    for row in rows:
        for fault in row.faults[:5]:
            print(f"fault: {row.what}: {fault}")
    if args.json:
        args.json.write_text(json.dumps([vars(row) for row in rows], indent=1) + "\n")
    if args.write:
        from loreal_plugin.files import replace_between, write_text

        write_text(args.write, replace_between(args.write.read_text(), "torture", text))
    return int(any(row.faults for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
