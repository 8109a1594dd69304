"""What a step of the adapted image side costs at ViT-B/16 sizes: time, and memory.

    python -m benchmarks.adapt_cost [--method coop] [--phi 96] [--batch 32] [--device cuda]
                                    [--half bf16] [--size tiny] [--write docs/ADAPT.md]

Variants: a step of `patch` and of `patch_lora` with alpha's targets at hand (all passes but the
first over a view), the same where alpha's targets are made first, and, to compare, beta's image
encoder alone on as many pictures. Weights and pictures are random; decoding is left out. Times are
medians of turns in one process (processor time of one thread; on CUDA wall time); memory is the
peak of a process of its own for each variant.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor

from loreal_plugin.adapt.settings import AdaptSettings
from loreal_plugin.adapt.shards import Shards
from loreal_plugin.adapt.tower import Tower, adapt
from loreal_plugin.adapt.train import Distillation
from loreal_plugin.bench.cells import Cell
from loreal_plugin.bench.measure_cell import processor
from loreal_plugin.bench.memory import peak_of
from loreal_plugin.bench.models import CellModels
from loreal_plugin.files import replace_between, write_text
from loreal_plugin.paths import embedded_host
from loreal_plugin.runs.timing import interleave
from loreal_plugin.students.views import ViewRecipe

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("patch", "patch_lora")
ENCODER = "image encoder alone"
VARIANTS = (ENCODER, *KINDS, *(f"{kind}, with targets" for kind in KINDS))
RECIPE = ViewRecipe((0.08, 1.0), True, "bicubic", (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
HALVES = {"": None, "bf16": torch.bfloat16, "fp16": torch.float16}
CLASSES, TIMED_S = 10, 120.0


class RandomShards(Shards):
    """Shards of random pixels in place of pictures."""

    def _drawn(self, index: int, view: int, sizes: Sequence[int]) -> list[Tensor]:
        generator = torch.Generator().manual_seed(index)
        shapes = [(3, size, size) for size in sizes]
        return [
            torch.randint(256, shape, generator=generator, dtype=torch.uint8) for shape in shapes
        ]


def build(args: argparse.Namespace) -> CellModels:
    """Return the models of a method at the sizes that the command line names."""
    cell = Cell("adapt", args.method, args.phi, CLASSES, args.batch, (), args.size, args.device)
    return CellModels(cell, embedded_host())


def call_of(models: CellModels, variant: str, half: str) -> Callable[[], object]:
    """Return what is measured under a variant's name."""
    cell = models.cell
    beta = models.student_at(cell.phi)
    if variant == ENCODER:
        pictures = torch.randn(cell.batch, 3, cell.phi, cell.phi, device=models.device)
        return lambda: beta.encode_image(pictures)
    kind, _, targets = variant.partition(", ")
    settings = AdaptSettings(kind=kind, views=1, epochs=1, batch=cell.batch)
    pupil, teacher = Tower(beta, HALVES[half]), Tower(models.alpha, HALVES[half])
    shards = RandomShards(
        teacher,
        [Path(f"{i}") for i in range(cell.batch)],
        sizes=[cell.phi],
        grids=[pupil.grid],
        recipe=RECIPE,
        seed=1,
        views=1,
    )
    training = Distillation(pupil, adapt(beta, settings), shards, settings)
    every = torch.arange(cell.batch)
    if targets:
        return lambda: training._step(shards._make(0, 0), every, 0)
    shard = shards.get(0, 0)
    return lambda: training._step(shard, every, 0)


def memory_of(args: argparse.Namespace, variant: str) -> float:
    """Return the peak memory of a variant in MiB, measured in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.adapt_cost", "--one", variant]
    for name in ("method", "phi", "batch", "device", "half", "size"):
        words += [f"--{name}", f"{getattr(args, name)}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["peak_mib"])


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and memory of each variant."""
    models = build(args)
    calls = {name: call_of(models, name, args.half) for name in VARIANTS}
    samples = interleave(calls, rounds=args.rounds, budget_s=TIMED_S, device=models.device)
    which = "wall" if models.device.type == "cuda" else "cpu"
    seconds = {name: statistics.median(of[which]) for name, of in samples.items()}
    rounds = len(samples[ENCODER][which])
    peaks = {name: memory_of(args, name) for name in VARIANTS}
    return {"seconds": seconds, "peak_mib": peaks, "rounds": rounds, "load": os.getloadavg()[0]}


def table(args: argparse.Namespace, found: dict[str, Any]) -> str:
    """Return what was measured as Markdown."""
    alone = found["seconds"][ENCODER]
    body = [
        [name, seconds, seconds / alone, found["peak_mib"][name]]
        for name, seconds in found["seconds"].items()
    ]
    heads = ["what", "seconds", "times the encoder alone", "peak MiB"]
    where = torch.cuda.get_device_name() if args.device == "cuda" else processor()
    precision = args.half or "fp32"
    return (
        f"{args.method}, {args.size}, phi {args.phi}, {args.batch} pictures, {precision}, {where},"
        f" {found['rounds']} rounds, load {found['load']:.1f} at the end:\n\n"
        + tabulate(body, heads, "github", floatfmt=("", ".2f", ".2f", ".0f"))
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the table into a page where one is named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", default="coop")
    parser.add_argument("--phi", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--half", default="", choices=tuple(HALVES), help="products in 16 bits")
    parser.add_argument("--size", default="vit_b16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path, help="a page with the marks of `adapt-cost`")
    parser.add_argument("--one", choices=VARIANTS, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if args.one:
        models = build(args)
        print(json.dumps(peak_of(call_of(models, args.one, args.half), models.device)))
        return
    shown = table(args, measure(args))
    print(shown)
    if args.write:
        text = args.write.read_text(encoding="utf-8")
        write_text(args.write, replace_between(text, "adapt-cost", shown))


if __name__ == "__main__":
    main()
