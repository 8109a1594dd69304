"""Packages of both formats, ONNX and LiteRT, timed in turns in one process.

    python -m benchmarks.device_formats packages PACKAGE ...     packages that are there already
    python -m benchmarks.device_formats sizes [--method maple]   ViT-B/16 sizes with random weights

Prints size, time and memory. Times are processor time of one thread, one picture at a time, medians
of turns; memory is the peak of a process that opens a package and runs its golden pictures. Needs
the extras [export] and [litert].
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from tabulate import tabulate

from benchmarks.device import N_CLASSES, PHI, RECORD, megabytes, peak_mib, random_model
from loreal_plugin.bench.cells import Cell
from loreal_plugin.bench.models import CellModels
from loreal_plugin.edge import Package
from loreal_plugin.export.export_run import ExportPlan, write_package
from loreal_plugin.export.golden import drawn_pictures
from loreal_plugin.export.litert import LITERT_PRECISIONS
from loreal_plugin.export.pictures import Pictures
from loreal_plugin.paths import embedded_host
from loreal_plugin.runs.timing import interleave

HEADS = ["package", "encoder MB", "MB", "ms", "time / first", "peak MiB"]


def random_packages(method: str, root: Path) -> list[Path]:
    """Return a package of a format and a precision each, of a model with random weights."""
    models = CellModels(Cell("predict", method, PHI, N_CLASSES, 1, ()), embedded_host())
    deployed, made = {"random": random_model(models)}, []
    for precision in LITERT_PRECISIONS:
        for kind in ("onnx", "litert"):
            made.append(root / f"{kind}-{precision}")
            plan = ExportPlan(precision, "static", check=0, format=kind)
            write_package(made[-1], deployed, RECORD, plan, Pictures(), made[-1].name)
            print(f"written: {made[-1].name}", flush=True)
    return made


def compare(folders: Sequence[Path], rounds: int) -> str:
    """Return size, time and peak memory of packages that read pictures of the same size."""
    opened = {folder: Package.open(folder) for folder in folders}
    pixels = opened[folders[0]].pixels(Image.fromarray(drawn_pictures()[0]))[None]
    calls = {
        str(at): lambda package=package: package.logits(pixels) for at, package in opened.items()
    }
    samples = interleave(calls, rounds=rounds, budget_s=900, device=torch.device("cpu"))
    times = [1000 * statistics.median(of["cpu"]) for of in samples.values()]
    body = []
    for (folder, package), ms in zip(opened.items(), times, strict=True):
        encoder = folder / package.manifest["encoder"]["file"]
        sizes = [encoder.stat().st_size / 1e6, megabytes(folder)]
        body.append([folder.name, *sizes, ms, ms / times[0], peak_mib(folder.resolve())])
    return tabulate(body, HEADS, "github", floatfmt=("", ".2f", ".2f", ".2f", ".2f", ".0f"))


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("packages").add_argument("packages", nargs="+", type=Path)
    kinds.add_parser("sizes").add_argument("--method", default="maple")
    for one in kinds.choices.values():
        one.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    if args.kind == "packages":
        print(compare(args.packages, args.rounds))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        print(compare(random_packages(args.method, Path(temporary)), args.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
