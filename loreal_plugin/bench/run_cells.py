"""Measures the cells of a plan one after the other, each in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from loreal_plugin.bench.cells import Cell, plan
from loreal_plugin.bench.measure_cell import machine_facts
from loreal_plugin.bench.results_file import BenchStore
from loreal_plugin.bench.sizes import ModelSize
from loreal_plugin.errors import ConfigError
from loreal_plugin.plain_output import Say
from loreal_plugin.runs.timing import spread

_TAIL = 300  # characters of the last line of a failed cell that are recorded


def select(cells: Sequence[Cell], patterns: Sequence[str]) -> list[Cell]:
    """Return the cells whose id fits one of the patterns (all without a pattern).

    Raises:
        ConfigError: a pattern fits no cell.
    """
    for pattern in patterns:
        if not any(fnmatch(cell.id, pattern) for cell in cells):
            raise ConfigError(
                f"--cells {pattern} fits none of {len(cells)} cells; loreal bench --list shows them"
            )
    return [cell for cell in cells if not patterns or any(fnmatch(cell.id, p) for p in patterns)]


def devices(wanted: str) -> list[str]:
    """Return the devices to measure on.

    Raises:
        ConfigError: cuda was asked for and there is none.
    """
    here = torch.cuda.is_available()
    if wanted == "cuda" and not here:
        raise ConfigError("--device cuda was asked for, and PyTorch finds no CUDA device; take cpu")
    return ["cpu", "cuda"] if wanted == "auto" and here else ["cpu" if wanted == "auto" else wanted]


def plan_all(
    size: ModelSize,
    methods: Sequence[str],
    phis: Sequence[int],
    *,
    device: str,
    threads: int,
    precision: str,
) -> list[Cell]:
    """Return the cells of every device.

    Raises:
        ConfigError: `amp` without CUDA, where it would be float32.
    """
    found = devices(device)
    if precision == "amp" and found != ["cuda"]:
        raise ConfigError(
            "--precision amp means something on CUDA only; add --device cuda, or take fp32"
        )
    settings = {"threads": threads, "precision": precision}
    return [cell for name in found for cell in plan(size, methods, phis, device=name, **settings)]


def run_cells(
    cells: Sequence[Cell],
    store: BenchStore,
    host: Path,
    *,
    rounds: int,
    budget_s: float,
    again: bool = False,
    say: Say = print,
) -> int:
    """Measure what is not in the store yet; return how many cells failed."""
    failed = 0
    for number, cell in enumerate(cells, start=1):
        title = f"[{number}/{len(cells)}] {cell.id}"
        if not again and store.has(cell, machine_facts(torch.device(cell.device), cell.threads)):
            say(f"{title}: there, skipped")
            continue
        record = measure_apart(cell, host, rounds=rounds, budget_s=budget_s)
        store.add(cell, record)
        failed += "error" in record
        say(f"{title}: {one_line(record)}")
    return failed


def measure_apart(cell: Cell, host: Path, *, rounds: int, budget_s: float) -> dict[str, Any]:
    """Return a cell's record, made in a process of its own, or `{"cell", "error"}`."""
    job = {"cell": cell.as_dict(), "host": str(host), "rounds": rounds, "budget_s": budget_s}
    threads = str(cell.threads)
    env = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    command = [sys.executable, "-m", "loreal_plugin.bench.measure_cell"]
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, env=env)
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        return json.loads(lines[-1])
    why = (
        "killed, probably out of memory"
        if done.returncode == -9
        else f"exit code {done.returncode}"
    )
    last = " ".join(done.stderr.strip().splitlines()[-1:])[-_TAIL:]
    return {"cell": cell.as_dict(), "error": f"{why}: {last}".rstrip(": ")}


def one_line(record: dict[str, Any]) -> str:
    """Return a record as one line of progress."""
    if "error" in record:
        return f"FAILED, {record['error']}"
    if "memory" in record:
        return ", ".join(f"{n} peak {m['peak_mib']:.0f} MiB" for n, m in record["memory"].items())
    medians = {
        name: spread(taken["wall"])["median"] * 1e3 for name, taken in record["samples"].items()
    }
    return ", ".join(f"{name} {value:.4g} ms" for name, value in medians.items())
