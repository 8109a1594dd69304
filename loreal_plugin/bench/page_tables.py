"""The tables of results/BENCHMARKS.md, as markdown; what has no record is "not measured"."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from loreal_plugin.bench.adapted_table import adapted_table
from loreal_plugin.bench.cells import (
    GROWTH_BATCHES,
    GROWTH_CLASSES,
    TEST_CLASSES,
    TRAIN_BATCH,
    TRAIN_CLASSES,
)
from loreal_plugin.bench.lookup import Results, title_of
from loreal_plugin.bench.table_cells import ABSENT, number, short_number, table
from loreal_plugin.contract import CONTRACTS
from loreal_plugin.plain_output import counted
from loreal_plugin.results.published import COSTS
from loreal_plugin.runs.timing import ratios

# What was aimed at: how many times faster than the published formulation.
TARGETS = {
    "cached:class_first": 8,
    "cached:slots_first": 12,
    "uncached:class_first": 6,
    "exact:class_first": 6,
    "exact:slots_first": 8,
}


def _machine(results: Results) -> str:
    """Return where the records come from, one row for each place."""
    places: dict[str, list[dict[str, Any]]] = {}
    for record in results.records.values():
        w = record["where"]
        key = (
            f"{w['device']}, {counted(w['cores'], 'core')}, {w['memory_gib']} GiB, {w['system']},"
            f" torch {w['versions']['torch']}"
        )
        places.setdefault(f"{key}, Python {w['versions']['python']}", []).append(w)
    rows = []
    for name, seen in places.items():
        loads = [load for w in seen for load in (w["load_before"], w["load_after"])]
        dates = sorted({w["date"] for w in seen})
        rows.append(
            [name, str(len(seen)), f"{min(loads):.1f} to {max(loads):.1f}", ", ".join(dates)]
        )
    return table(["machine", "cells", "load of the machine", "dates"], rows)


def _versus(results: Results) -> str:
    rows = []
    for cell, record in results.records.items():
        if not cell.kind.startswith("versus"):
            continue
        words = ", short words" if cell.words else ""
        what = (
            f"step, C={cell.n_classes}, B={cell.batch}"
            if cell.trains
            else f"predict, C={cell.n_classes}"
        )
        for variant in cell.variants[1:]:
            how, _, order = variant.partition(":")
            apart = record["facts"]["agreement"].get(variant, {})
            rows_computed = record["facts"].get("rows", {}).get(order)
            found = results.ratio(record, "published", variant)
            wall = ratios(record["samples"], "published", variant, "wall")
            rows.append(
                [
                    title_of(cell.method),
                    f"{what}, {how}{words}",
                    f"`{order}`",
                    "-" if rows_computed is None else f"{rows_computed:.1f}",
                    number(results.milliseconds(record, "published")),
                    number(results.milliseconds(record, variant)),
                    f"{number(found)} x",
                    f"{short_number(wall['median'])} x",
                    f"{TARGETS[variant]} x" if variant in TARGETS else "-",
                    ", ".join(f"{k.replace('_', ' ')} {v:.0e}" for k, v in apart.items())
                    or "another prompt",
                ]
            )
    head = [
        "method",
        "what",
        "order",
        "rows of 77",
        "published ms/sample",
        "ours ms/sample",
        "faster",
        "by wall clock",
        "asked for",
        "apart",
    ]
    return table(head, rows) if rows else ""


def _efficiency(results: Results) -> str:
    rows = []
    for method in results.methods:
        for phi in results.phis:
            rows += _efficiency_rows(results, method, phi)
    head = [
        "method",
        "phi",
        "tunable parameters",
        "train ms/sample",
        "infer ms/sample, B=1",
        "infer ms/sample, B=32",
        "infer memory MiB",
        "paper: train, infer, memory",
    ]
    return table(head, rows)


def _efficiency_rows(results: Results, method: str, phi: int) -> Iterator[list[str]]:
    train = results.find("train", method, phi, TRAIN_CLASSES, TRAIN_BATCH)
    tests = {b: results.find("infer", method, phi, TEST_CLASSES, b) for b in (1, 32)}
    facts = next((r["facts"] for r in (train, *tests.values()) if r), {})
    paper = COSTS.get((method, phi))  # its device is not stated
    for row, step, mode in (
        ("host", "host", "host"),
        ("+ LOREAL", "cached:class_first", "exact:class_first"),
    ):
        host = row == "host"
        count = facts.get("host_parameters" if host else "loreal_parameters")
        peak = results.peak(method, phi, TEST_CLASSES, 1, mode)
        sign, said = "" if host else "+", ""
        if paper:
            added = paper.added[1:]  # without the parameters
            costs = (paper.train_ms, paper.test_ms, paper.memory_mb) if host else added
            said = ", ".join(f"{sign}{cost}" for cost in costs)
        yield [
            f"{title_of(method)} {'' if host else row}".strip(),
            str(phi),
            ABSENT if count is None else f"{sign}{count:,}",
            number(results.milliseconds(train, step)),
            *(number(results.milliseconds(record, mode)) for record in tests.values()),
            ABSENT if peak is None else f"{peak:.0f}",
            said or "-",
        ]


def _modes(results: Results) -> str:
    rows = []
    for cell, record in results.records.items():
        if cell.kind != "infer":
            continue
        for variant in cell.variants[1:]:
            rows.append(
                [
                    title_of(cell.method),
                    str(cell.phi),
                    str(cell.n_classes),
                    str(cell.batch),
                    f"`{variant.partition(':')[0]}`",
                    number(results.milliseconds(record, "host")),
                    number(results.milliseconds(record, variant)),
                    number(results.ratio(record, variant, "host")),
                ]
            )
    known = [title_of(method) for method in CONTRACTS]
    rows.sort(
        key=lambda r: (
            known.index(r[0]) if r[0] in known else len(known),
            *(int(value) for value in r[1:4]),
        )
    )
    head = ["method", "phi", "C", "B", "mode", "host ms/sample", "mode ms/sample", "mode / host"]
    return table(head, rows) if rows else ""


def _growth(results: Results) -> str:
    method, phi = results.methods[0], min(results.phis)
    rows = []
    for c in GROWTH_CLASSES:
        train = results.find("train", method, phi, c, TRAIN_BATCH)
        test = results.find("infer", method, phi, c, 1)
        peaks = [
            results.peak(method, phi, c, 1, "exact:class_first"),
            results.peak(method, phi, c, TRAIN_BATCH, "cached:class_first", "memory-train"),
        ]
        step = results.milliseconds(train, "cached:class_first")
        once = results.first_ms(method, phi, c, TRAIN_BATCH, "cached:class_first", "memory-train")
        rows.append(
            [
                f"C={c}",
                number(step) if step or not once else f"{once:.0f} (one call)",
                number(results.milliseconds(test, "exact:class_first")),
                *(ABSENT if p is None else f"{p:.0f}" for p in peaks),
            ]
        )
    for b in GROWTH_BATCHES:
        test = results.find("infer", method, phi, TEST_CLASSES, b)
        peak = results.peak(method, phi, TEST_CLASSES, b, "exact:class_first")
        rows.append(
            [
                f"C={TEST_CLASSES}, B={b}",
                "-",
                number(results.milliseconds(test, "exact:class_first")),
                ABSENT if peak is None else f"{peak:.0f}",
                "-",
            ]
        )
    head = [
        f"{title_of(method)}, phi {phi}",
        f"step ms/sample (B={TRAIN_BATCH})",
        "`exact` ms/sample (B=1)",
        "`exact` peak MiB",
        "step peak MiB",
    ]
    return table(head, rows)


def _phi(results: Results) -> str:
    """Return what a lower phi saves of the image encoder's time and the host's memory."""
    rows = []
    for cell, record in results.records.items():
        if cell.kind != "image":
            continue
        native = max(cell.variants, key=lambda v: int(v[3:]))
        for variant in cell.variants:
            share = results.ratio(record, variant, native)
            low, high = (
                results.peak(cell.method, int(v[3:]), TEST_CLASSES, cell.batch, "host")
                for v in (variant, native)
            )
            saved = f"{100 * (1 - low / high):.0f} %" if low and high else ABSENT
            rows.append(
                [
                    title_of(cell.method),
                    str(cell.batch),
                    variant[3:],
                    number(results.milliseconds(record, variant)),
                    f"{100 * (1 - share['median']):.0f} %",
                    ABSENT if low is None else f"{low:.0f}",
                    saved,
                ]
            )
    head = [
        "method",
        "B",
        "phi",
        "image encoder ms/sample",
        "time saved",
        "host inference MiB",
        "memory saved",
    ]
    return table(head, rows) if rows else ""


def _memory(results: Results) -> str:
    rows = []
    for cell, record in results.records.items():
        if cell.kind != "memory-infer" or cell.variants[0] in ("host", "adapted"):
            continue
        host = results.peak(cell.method, cell.phi, cell.n_classes, cell.batch, "host")
        found = record["memory"][cell.variants[0]]
        added = ABSENT if host is None else f"{found['peak_mib'] - host:+.0f}"
        rows.append(
            [
                title_of(cell.method),
                str(cell.phi),
                str(cell.n_classes),
                str(cell.batch),
                f"`{cell.variants[0].partition(':')[0]}`",
                ABSENT if host is None else f"{host:.0f}",
                f"{found['peak_mib']:.0f}",
                added,
            ]
        )
    head = ["method", "phi", "C", "B", "mode", "host peak MiB", "mode peak MiB", "added"]
    return table(head, rows) if rows else ""


PARTS: dict[str, Callable[[Results], str]] = {
    "machine": _machine,
    "versus": _versus,
    "efficiency": _efficiency,
    "adapted": adapted_table,
    "modes": _modes,
    "growth": _growth,
    "phi": _phi,
    "memory": _memory,
    "other": lambda _results: "",
}
