"""`python -m benchmarks.control_world make | check | run | words | table`: the control world.

    python -m benchmarks.control_world check    # what words are worth in it, before any training
    python -m benchmarks.control_world run      # every run of plan.yaml
    python -m benchmarks.control_world words    # what words written by hand are worth in these runs
    python -m benchmarks.control_world table --write docs/CONTROL.md

All of it lies below one folder, `--folder` (output/control_world): `data/demo-control/` has the
pictures, `clip.safetensors` the CLIP, `runs/` the runs. What is there is not made again.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch

from benchmarks.control_world.oracle import table as word_table
from benchmarks.control_world.rules import NAME, write_pictures
from benchmarks.control_world.table import PLAN, run_table, write_words
from benchmarks.control_world.tuning import write_weights
from loreal_plugin.cli.results import deliver
from loreal_plugin.errors import LorealError
from loreal_plugin.files import digest_file
from loreal_plugin.sweep.plan_file import read_plan
from loreal_plugin.sweep.planned_runs import Locations
from loreal_plugin.sweep.run_sweep import sweep


def make(folder: Path) -> Path:
    """Makes what is missing of pictures and weights; returns the weights' file."""
    write_pictures(folder / "data")
    weights = folder / "clip.safetensors"
    return weights if weights.is_file() else write_weights(weights)


def run(folder: Path, plan: Path) -> int:
    """Makes the runs of a plan that are not there; returns the exit code."""
    os.environ |= {"CLIP_WEIGHTS": str(make(folder)), "RECIPE": "demo"}
    places = Locations(folder / "runs", str(folder / "data"))
    ended = sweep(read_plan(plan), places, report=False, say=lambda text: print(text, flush=True))
    return 1 if ended.failed or ended.open else 0


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code of the action that the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.control_world",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=("make", "check", "run", "words", "table"))
    parser.add_argument("--folder", type=Path, default=Path("output/control_world"))
    parser.add_argument("--plan", type=Path, default=PLAN, help="run: another plan")
    parser.add_argument("--method", default="coop", help="words, table: whose runs (%(default)s)")
    parser.add_argument(
        "--shots", type=int, default=64, help="words, table: of which (%(default)s)"
    )
    parser.add_argument("--write", metavar="FILE", help="table: replace its part of a page")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    folder = args.folder.resolve()
    runs, which = folder / "runs", (args.method, args.shots)
    try:
        if args.action == "run":
            return run(folder, args.plan)
        if args.action == "words":
            print(f"written: {write_words(runs, folder / 'data', *which)}")
            return 0
        if args.action == "table":
            deliver("\n".join(run_table(runs, *which)), args.write, NAME)
            return 0
        weights = make(folder)
        print(f"weights: {weights} (SHA-256 {digest_file(weights)})\npictures: {folder / 'data'}")
        if args.action == "check":
            print("\n".join(["", *word_table(weights)]))
    except (OSError, LorealError) as error:
        print(f"control_world {args.action}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
