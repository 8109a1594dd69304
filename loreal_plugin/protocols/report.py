"""Markdown tables over many runs: mean and standard deviation over seeds, from results.json files only."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from loreal_plugin.errors import LorealError
from loreal_plugin.protocols.folders import PROTOCOL
from loreal_plugin.protocols.records import RESULTS, read_results

Group = tuple[str, str, int, str]  # dataset, configuration folder, phi, weights


def read_runs(out: Path) -> list[dict[str, Any]]:
    """Return every finished run below an output folder; runs that were set aside do not count.

    Raises:
        LorealError: there is none.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for path in sorted((out / PROTOCOL / "train_base").rglob(RESULTS)):
        if any(part.endswith(".replaced") for part in path.parts):
            continue
        record = read_results(path.parent)
        if record and record.get("rows"):
            run = record | {"label": path.parent.parent.name}
            name = (*(run[k] for k in ("dataset", "label", "phi", "method", "seed", "shots")), run["weights"]["name"])
            # a run that was stopped after stage 2 and then went on has left two records with the same rows
            if name not in found or len(run["rows"]) > len(found[name]["rows"]):
                found[name] = run
    if not found:
        raise LorealError(f"no finished run below {out / PROTOCOL / 'train_base'}; run base2new_train.sh first")
    return list(found.values())


def format_report(runs: Sequence[dict[str, Any]]) -> str:
    """Return one markdown section a dataset, configuration, phi and weights, one table each with every method."""
    groups: dict[Group, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        groups[(run["dataset"], run["label"], run["phi"], run["weights"]["name"])].append(run)
    return "\n\n".join(_section(group, groups[group]) for group in sorted(groups)) + "\n"


def _section(group: Group, runs: list[dict[str, Any]]) -> str:
    """Return the section of one group."""
    dataset, label, phi, weights = group
    lines = [f"### {dataset}, phi {phi}, weights {weights}, configuration `{label}`", "", *_table_head()]
    for method in sorted({run["method"] for run in runs}):
        lines += _method_rows([run for run in runs if run["method"] == method])
    return "\n".join([*lines, "", _provenance(runs)])


def _table_head() -> list[str]:
    names = ["method", "row", "Base", "New", "HM", "tunable parameters", "seconds", "n"]
    return [f"| {' | '.join(names)} |", "|---|---|" + "---:|" * 6]


def _method_rows(runs: list[dict[str, Any]]) -> list[str]:
    """Return one line a row name, over the runs' seeds."""
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        for row in run["rows"]:
            by_name[row["name"]].append(row)
    lines = []
    for name, rows in by_name.items():
        plus = "+" if name == "loreal" else ""
        cells = [
            runs[0]["method"],
            rows[0]["label"],
            mean_std(row["base"]["accuracy"] for row in rows),
            mean_std(row["new"]["accuracy"] for row in rows),
            mean_std(row["hm"] for row in rows),
            f"{plus}{rows[0]['parameters']:,}",
            f"{plus}{statistics.fmean(row['seconds'] for row in rows):.0f}",
            str(len(rows)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def mean_std(values: Iterable[float]) -> str:
    """Return `mean ± sample standard deviation`, the mean alone for one value."""
    numbers = list(values)
    mean = f"{statistics.fmean(numbers):.2f}"
    return f"{mean} ± {statistics.stdev(numbers):.2f}" if len(numbers) > 1 else mean


def _provenance(runs: Sequence[dict[str, Any]]) -> str:
    """Return seeds, devices and revisions of a group in one line."""
    seeds = sorted({run["seed"] for run in runs})
    devices = sorted({f"{run['device']} ({run['threads']} threads)" for run in runs})
    revisions = sorted({(run["git_revision"] or "no checkout")[:12] for run in runs})
    return (
        f"Seeds {', '.join(map(str, seeds))}; mean ± sample standard deviation over seeds; {', '.join(devices)}; "
        f"torch {runs[0]['versions'].get('torch', '?')}; revision {', '.join(revisions)}."
    )
