"""`python -m loreal_plugin.bench.measure_cell` measures one cell, in a process of its own.

It reads `{"cell", "host", "rounds", "budget_s"}` as JSON from stdin. The last line of its stdout
is the cell's record.
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
from loreal_plugin.bench.models import CellModels
from loreal_plugin.bench.predictions import slim
from loreal_plugin.bench.variant_calls import PUBLISHED, PUBLISHED_ORDER, Call, build_variant
from loreal_plugin.results.provenance import git_revision, versions
from loreal_plugin.runs.timing import interleave

MANY = 32  # pictures of one call


def measure(cell: Cell, host: Path, *, rounds: int, budget_s: float) -> dict[str, Any]:
    """Return the record of a cell: samples or memory by variant, facts, and the machine."""
    torch.set_num_threads(cell.threads)
    models = CellModels(cell, host)
    load = os.getloadavg()[0]
    record: dict[str, Any] = {"cell": cell.as_dict(), "facts": cell_facts(models)}
    if cell.kind.startswith("memory"):
        record["memory"] = {name: _memory(models, name) for name in cell.variants}
    else:
        outputs: dict[str, Any] = {}
        calls = {
            name: _recording(outputs, name, build_variant(models, name)) for name in cell.variants
        }
        record["samples"] = interleave(
            calls, rounds=rounds, budget_s=budget_s, device=models.device, cold=cold_of(cell)
        )
        if cell.kind.startswith("versus"):
            record["facts"]["rows"] = {
                order: rows_computed(models, order) for order in _orders(cell)
            }
            record["facts"]["agreement"] = agreement(outputs)
    record["where"] = machine_facts(models.device, cell.threads) | {
        "load_before": load,
        "load_after": os.getloadavg()[0],
    }
    return record


def cold_of(cell: Cell) -> list[str]:
    """Return the variants without a warm-up: those whose one call takes minutes on a processor."""
    long = cell.device == "cpu" and cell.batch >= MANY
    return [
        name for name in cell.variants if name == PUBLISHED or (long and name.startswith("exact:"))
    ]


def _memory(models: CellModels, name: str) -> dict[str, Any]:
    """Return the memory of a variant, without what was needed only to build it."""
    call = build_variant(models, name)
    if not models.cell.trains:
        call()
        slim(models, name)
    return peak_of(call, models.device)


def cell_facts(models: CellModels) -> dict[str, Any]:
    """Return what tables say beside times: parameters that train, attribute words, the host."""
    facts = {
        "words": list(models.words),
        "host": f"{models.host.path.name} ({models.host.revision})",
    }
    if models.cell.kind.startswith("memory"):
        return facts  # counting would build, and hold, more than the variant
    if models.cell.kind == "adapted":
        return facts | {
            "adapted_parameters": sum(t.numel() for t in models.adapted.adaptation.values())
        }
    return facts | {
        "host_parameters": sum(p.numel() for p in models.beta.learned.values()),
        "loreal_parameters": sum(p.numel() for p in models.nets.parameters()),
    }


def rows_computed(models: CellModels, order: str) -> float:
    """Return how many of the L rows of a prompt are computed for each image and class.

    It is the mean over the classes. Rows before the first content are computed once a class; rows
    that are the same in all prompts are computed once an image.
    """
    prompts = models.model(order).beta.text_path.prompts
    alike = (prompts.tokens == prompts.tokens[:1]).all(0).long().cumprod(0).sum()
    return (prompts.eot + 1 - prompts.first_content.clamp(min=alike)).float().mean().item()


def _orders(cell: Cell) -> list[str]:
    return sorted({name.partition(":")[2] for name in cell.variants} - {""})


def agreement(outputs: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the difference of each variant from the published formulation.

    Only variants in its slot order can be compared; others have other prompts.

    Args:
        outputs: what a call of each variant gave, (loss, gradient (N,)) or logits (B, C).
    """
    return {
        name: _difference(outputs[PUBLISHED], value)
        for name, value in outputs.items()
        if name.endswith(f":{PUBLISHED_ORDER}")
    }


def _difference(published: Any, ours: Any) -> dict[str, float]:
    if isinstance(published, torch.Tensor):
        return {"logits_absolute": (published - ours).abs().max().item()}
    gradient = (published[1] - ours[1]).norm() / published[1].norm()
    return {"loss_absolute": abs(published[0] - ours[0]), "gradient_relative": gradient.item()}


def _recording(outputs: dict[str, Any], name: str, call: Call) -> Call:
    """Return the call, which also puts what it gives into `outputs`."""

    def recorded() -> None:
        outputs[name] = call()

    return recorded


def machine_facts(device: torch.device, threads: int) -> dict[str, Any]:
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
