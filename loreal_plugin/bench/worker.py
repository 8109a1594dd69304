"""Measures one cell; run as `python -m loreal_plugin.bench.worker`, a fresh process a cell.

Reads `{"cell", "host", "rounds", "budget_s"}` as JSON from stdin; the last line of stdout is the
cell's record.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from loreal_plugin.bench.cells import Cell, cell_of
from loreal_plugin.bench.memory import peak_of
from loreal_plugin.bench.models import Workshop
from loreal_plugin.bench.modes import slim
from loreal_plugin.bench.variants import PUBLISHED, PUBLISHED_ORDER, Call, build_variant
from loreal_plugin.results.record import git_revision, versions
from loreal_plugin.runs.timing import interleave


def measure(cell: Cell, host: Path, *, rounds: int, budget_s: float) -> dict[str, Any]:
    """Return the record of a cell: samples or memory by variant, facts, and where it was measured."""
    torch.set_num_threads(cell.threads)
    shop = Workshop(cell, host)
    load = os.getloadavg()[0]
    record: dict[str, Any] = {"cell": cell.as_dict(), "facts": facts_of(shop)}
    if cell.kind.startswith("memory"):
        record["memory"] = {name: _memory(shop, name) for name in cell.variants}
    else:
        given: dict[str, Any] = {}
        calls = {name: _keeping(given, name, build_variant(shop, name)) for name in cell.variants}
        versus = cell.kind.startswith("versus")
        cold = (PUBLISHED,) if versus else ()
        record["samples"] = interleave(
            calls, rounds=rounds, budget_s=budget_s, device=shop.device, cold=cold
        )
        if versus:
            record["facts"]["rows"] = {order: rows_run(shop, order) for order in _orders(cell)}
            record["facts"]["agreement"] = agreement(given)
    record["where"] = place(shop.device, cell.threads) | {
        "load_before": load,
        "load_after": os.getloadavg()[0],
    }
    return record


def _memory(shop: Workshop, name: str) -> dict[str, Any]:
    """Return the memory of a variant, without what only building it needed."""
    call = build_variant(shop, name)
    if not shop.cell.trains:
        call()
        slim(shop, name)
    return peak_of(call, shop.device)


def facts_of(shop: Workshop) -> dict[str, Any]:
    """Return what a table says beside times: parameters that train, and what the prompts are made
    of.
    """
    facts = {"words": list(shop.words), "host": f"{shop.host.path.name} ({shop.host.revision})"}
    if shop.cell.kind.startswith("memory"):
        return facts  # counting would build, and hold, more than the variant
    return facts | {
        "host_parameters": sum(p.numel() for p in shop.beta.learned.values()),
        "loreal_parameters": sum(p.numel() for p in shop.nets.parameters()),
    }


def rows_run(shop: Workshop, order: str) -> float:
    """Return how many of the L rows of a prompt run once an image and class, on average over the
    classes.

    Rows before the first content are kept from before; those up to where prompts begin to differ
    run once an image.
    """
    prompts = shop.model(order).paths["beta"].prompts
    alike = (prompts.tokens == prompts.tokens[:1]).all(0).long().cumprod(0).sum()
    return (prompts.eot + 1 - prompts.first_content.clamp(min=alike)).float().mean().item()


def _orders(cell: Cell) -> list[str]:
    return sorted({name.partition(":")[2] for name in cell.variants} - {""})


def agreement(given: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return how far our loss and gradient, or logits, are from the published formulation's, by
    variant.

    Only variants in its slot order can be compared; others are other prompts.

    Args:
        given: what a call of each variant gave, (loss, gradient (N,)) or logits (B, C).
    """
    return {
        name: _apart(given[PUBLISHED], value)
        for name, value in given.items()
        if name.endswith(f":{PUBLISHED_ORDER}")
    }


def _apart(slow: Any, fast: Any) -> dict[str, float]:
    if isinstance(slow, torch.Tensor):
        return {"logits_absolute": (slow - fast).abs().max().item()}
    gradient = (slow[1] - fast[1]).norm() / slow[1].norm()
    return {"loss_absolute": abs(slow[0] - fast[0]), "gradient_relative": gradient.item()}


def _keeping(given: dict[str, Any], name: str, call: Call) -> Call:
    """Return the call, which also leaves what it gives in `given`."""

    def kept() -> None:
        given[name] = call()

    return kept


def place(device: torch.device, threads: int) -> dict[str, Any]:
    """Return the machine, the versions and the time."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
        "revision": git_revision(),
        "date": time.strftime("%Y-%m-%d"),
    }


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else (platform.processor() or platform.machine())


def main() -> None:
    """Measure the cell on stdin and print its record as one line."""
    job = json.load(sys.stdin)
    cell = cell_of(job["cell"])
    record = measure(cell, Path(job["host"]), rounds=job["rounds"], budget_s=job["budget_s"])
    print(json.dumps(record))


if __name__ == "__main__":
    main()
