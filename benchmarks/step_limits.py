"""What bounds a stage-3 step at ViT-B/16's size: speed of matrix products, its time, its memory.

    python benchmarks/step_limits.py                              # products, profile of a step
    python benchmarks/step_limits.py --classes 120 --budget 256   # memory under MEMORY_BUDGET_MB

CoOp, 50 classes and batches of 4 unless told otherwise; random weights; one processor thread. Times
are processor seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from loreal_plugin.bench.cells import Cell
from loreal_plugin.bench.memory import peak_of
from loreal_plugin.bench.models import CellModels
from loreal_plugin.bench.variant_calls import build_variant
from loreal_plugin.paths import embedded_host

ROWS, WIDTH = 2000, 512  # of a bare matrix product like the MLP's first one


def seconds_of(call: Callable[[], object], repeats: int) -> float:
    """Return the processor seconds of a call, warmed up."""
    call()
    started = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - started) / repeats


def products() -> None:
    """Print the speed of a matrix product in each type."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        rows, weight = torch.randn(ROWS, WIDTH).to(dtype), torch.randn(WIDTH, 4 * WIDTH).to(dtype)
        took = seconds_of(lambda a=rows, b=weight: a @ b, repeats=3)
        print(
            f"{ROWS} x {WIDTH} x {4 * WIDTH}, {dtype}:"
            f" {2 * ROWS * WIDTH * 4 * WIDTH / took / 1e9:.1f} GFLOP/s"
        )


def main() -> None:
    """Run the measurements that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classes", type=int, default=50, help="number of classes (50)")
    parser.add_argument("--order", default="class_first", choices=("class_first", "slots_first"))
    parser.add_argument(
        "--budget", type=int, default=0, help="MEMORY_BUDGET_MB; measures memory, not time"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    variant = f"cached:{args.order}"
    models = CellModels(
        Cell("memory-train", "coop", 96, args.classes, 4, (variant,)), embedded_host()
    )
    if args.budget:
        options = models.options
        models.options = lambda order, mode="exact": replace(
            options(order, mode), memory_budget_mb=args.budget
        )
        found = peak_of(build_variant(models, variant), models.device)
        print(
            f"C={args.classes}, MEMORY_BUDGET_MB {args.budget}:"
            f" {found['peak_mib'] - found['held_mib']:.0f} MiB over the {found['held_mib']:.0f}"
            f" held before, {found['first_s']:.0f} s"
        )
        return
    products()
    step = build_variant(models, variant)
    print(f"step: {seconds_of(step, repeats=2) / 4:.3f} s a picture")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step()
    print(
        profile.key_averages().table(
            sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=40
        )
    )


if __name__ == "__main__":
    main()
