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
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from torture_after import exports, tests  # noqa: E402  (needs the paths above)
from torture_disks import DiskStories, full_at_each_write  # noqa: E402
from torture_kills import kills, sweeps  # noqa: E402
from torture_world import Row, World, differences, flip, kept_files  # noqa: E402


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


STORIES: dict[str, Callable[[World, int, random.Random], list[Row]]] = {
    "flips": lambda *asked: [flips(*asked)],
    "heals": lambda *asked: [heals(*asked)],
    "kills": kills,
    "tests": lambda *asked: [tests(*asked)],
    "exports": lambda *asked: [exports(*asked)],
    "sweeps": lambda *asked: [sweeps(*asked)],
    "disks": lambda world, sizes, _: DiskStories(world).rows(sizes),
    "writes": lambda world, places, _: [full_at_each_write(world, places)],
}


# how many stories of a kind there are where no kind is named
NUMBERS = {
    "kills": (200, "kills of whole runs"),
    "flips": (500, "bits flipped, one at a time"),
    "heals": (20, "runs after a flipped bit"),
    "tests": (20, "kills of tests alone"),
    "exports": (20, "kills of exports"),
    "sweeps": (4, "kills of sweeps"),
    "disks": (10, "sizes of full disks"),
    "writes": (20, "places at which a disk is full"),
}


def numbers_of(args: argparse.Namespace) -> dict[str, int]:
    """Return how many stories of each kind to tell: of those that are named, or all."""
    named = {kind: n for kind in NUMBERS if (n := getattr(args, kind)) is not None}
    whole = ("exports", "sweeps")  # need runs with all stages
    usual = {k: n for k, (n, _) in NUMBERS.items() if not (args.until and k in whole)}
    return dict.fromkeys(NUMBERS, 0) | (named or usual)


def main(words: list[str]) -> int:
    """Run all stories and print the table; 1 where something went wrong."""
    parser = argparse.ArgumentParser(
        description=f"{__doc__.splitlines()[0]} Kinds that are named run alone; without any, all."
    )
    for kind, (number, what) in NUMBERS.items():
        parser.add_argument(f"--{kind}", type=int, metavar="N", help=f"{what} ({number})")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--until", default="", help="last stage of the runs (alpha: short)")
    parser.add_argument("--write", type=Path, help="page whose part 'torture' is replaced")
    parser.add_argument("--json", type=Path, help="file for the rows and all faults")
    args = parser.parse_args(words)
    numbers = numbers_of(args)
    if args.until and (numbers["sweeps"] or numbers["exports"]):
        parser.error("--until goes without --exports and --sweeps: they need whole runs")
    draw, start = random.Random(args.seed), time.time()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="loreal-torture-") as folder:
        world = World(Path(folder), args.until)
        for kind, tell in STORIES.items():
            rows += tell(world, numbers[kind], draw) if numbers[kind] else []
            if args.json:  # also what was found before somebody ended this
                args.json.write_text(json.dumps([vars(row) for row in rows], indent=1) + "\n")
    text = table(rows, time.time() - start, words)
    print(text)
    for row in rows:
        for fault in row.faults[:5]:
            print(f"fault: {row.what}: {fault}")
    if args.write:
        from loreal_plugin.files import replace_between, write_text

        write_text(args.write, replace_between(args.write.read_text(), "torture", text))
    return int(any(row.faults for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
