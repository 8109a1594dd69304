"""Fills results/EARLIER.md's table: every method, phi and seed on the demonstration world, with
controls and rivals.

    python benchmarks/demo_grid.py --methods coop maple --phis 96 144 192 --seeds 1 2 3 --out output
    loreal results output --write results/EARLIER.md --part demo

Each run is a base-to-new run, then the same with constant conditioning, then stage 2 with stage 3's
steps on top, then the rivals. What is complete is not run again, so a broken grid goes on where it
stopped; several processes may work on one output folder.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
import traceback

import torch

from loreal_plugin.results.variants import CONSTANT, LONGER, longer_epochs
from loreal_plugin.runs.rivals import run_rivals
from loreal_plugin.runs.run import run_protocol
from loreal_plugin.runs.spec import RunSpec, build_spec

PARTS = ("plain", "constant", "longer", "rivals")


def run_part(part: str, args: argparse.Namespace, method: str, phi: int, seed: int) -> str:
    """Run one part of a cell of the grid; return its last row in words."""

    def spec(*opts: str) -> RunSpec:
        return build_spec(
            method, str(phi), "demo", str(seed), out=args.out, weights=args.weights, opts=opts
        )

    quiet = {"say": lambda _text: None}
    if part == "rivals":
        record = run_rivals(spec(), **quiet)
        return ", ".join(f"{row['name']} {row['hm']:.2f}" for row in record["rows"])
    if part == "constant":
        record = run_protocol(spec(CONSTANT, "True"), **quiet).record
    elif part == "longer":
        plain = run_protocol(spec(), **quiet).record
        beta, loreal = plain["stages"]["beta"], plain["stages"]["loreal"]
        epochs = longer_epochs(beta, loreal["epochs"] * loreal["steps_per_epoch"])
        record = run_protocol(spec(f"beta:{LONGER}", str(epochs)), until="beta", **quiet).record
    else:
        record = run_protocol(spec(), **quiet).record
    return ", ".join(f"{row['name']} {row['hm']:.2f}" for row in record["rows"])


def main() -> None:
    """Run the grid; a failing cell is reported and the next one goes on."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=["coop", "maple", "mma", "mmrl"])
    parser.add_argument("--phis", nargs="+", type=int, default=[96, 144, 192])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--weights", default="demo")
    parser.add_argument("--out", default="output")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for part, phi, seed, method in itertools.product(
        args.parts, args.phis, args.seeds, args.methods
    ):
        start = time.perf_counter()
        try:
            text = run_part(part, args, method, phi, seed)
        except Exception:
            traceback.print_exc()
            text = "failed"
        print(
            f"{part} {method} {phi} seed {seed}: {text} ({time.perf_counter() - start:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()
