"""Markdown tables over many runs: mean and standard deviation over seeds, from results.json files
only.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from loreal_plugin.errors import LorealError
from loreal_plugin.results.record import RESULTS, read_results
from loreal_plugin.results.variants import merge_variant

Group = tuple[str, str, int, str]  # dataset, configuration folder, phi, weights


def read_runs(out: Path) -> list[dict[str, Any]]:
    """Return every finished run and rivals' record below an output folder; what was set aside does
    not count.

    Raises:
        LorealError: there is none.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for run in _records(out):
        name = (
            *(run[k] for k in ("dataset", "label", "phi", "method", "seed", "shots")),
            run["weights"]["name"],
        )
        name = (*name, run["kind"] == "rivals")
        # a run that was stopped after stage 2 and then went on has left two records with the same
        # rows
        if name not in found or len(run["rows"]) > len(found[name]["rows"]):
            found[name] = run
    if not found:
        raise LorealError(
            f"no finished run below {out / 'base2new' / 'train_base'}; run base2new_train.sh first"
        )
    return [merge_variant(run) for run in found.values()]


def _records(out: Path) -> Iterator[dict[str, Any]]:
    """Yield the records that have rows, with the name of their configuration folder as `label`."""
    for kind in ("train_base", "rivals"):
        for path in sorted((out / "base2new" / kind).rglob(RESULTS)):
            if any(part.endswith(".replaced") for part in path.parts):
                continue
            record = read_results(path.parent)
            if record and record.get("rows"):
                if "label" not in record["rows"][0]:
                    raise LorealError(
                        f"{path} is of an older release; run `loreal rivals` with its arguments"
                        " again"
                    )
                yield record | {"label": path.parent.parent.name}


def format_report(runs: Sequence[dict[str, Any]]) -> str:
    """Return one markdown section a dataset, configuration, phi and weights, one table each with
    every method.
    """
    groups: dict[Group, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        groups[(run["dataset"], run["label"], run["phi"], run["weights"]["name"])].append(run)
    return "\n\n".join(_section(group, groups[group]) for group in sorted(groups)) + "\n"


def _section(group: Group, runs: list[dict[str, Any]]) -> str:
    """Return the section of one group."""
    dataset, label, phi, weights = group
    lines = [
        f"### {dataset}, phi {phi}, weights {weights}, configuration `{label}`",
        "",
        *_table_head(),
    ]
    for method in sorted({run["method"] for run in runs}):
        lines += _method_rows([run for run in runs if run["method"] == method])
    return "\n".join([*lines, "", _provenance(runs)])


def _table_head() -> list[str]:
    names = [
        "method",
        "row",
        "Base",
        "New",
        "HM",
        "tunable parameters",
        "training s",
        "ms / image",
        "n",
    ]
    return [f"| {' | '.join(names)} |", "|---|---|" + "---:|" * 7]


def _method_rows(runs: list[dict[str, Any]]) -> list[str]:
    """Return one line a row name, over the runs' seeds: the four rows first, then variants, then
    rivals.
    """
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run["order"]):
        for row in run["rows"]:
            by_name[row["name"]].append(row)
    return [_row_line(runs[0]["method"], rows) for rows in by_name.values()]


def _row_line(method: str, rows: list[dict[str, Any]]) -> str:
    """Return one line; what LOREAL adds to the host carries a plus, what a rival does not train a
    dash.
    """
    plus = "+" if rows[0]["name"].startswith("loreal") else ""
    trained, cost = rows[0].get("parameters"), rows[0].get("milliseconds")
    cells = [
        method,
        rows[0]["label"],
        mean_std(row["base"]["accuracy"] for row in rows),
        mean_std(row["new"]["accuracy"] for row in rows),
        mean_std(row["hm"] for row in rows),
        "-" if trained is None else f"{plus}{trained:,}",
        "-" if trained is None else f"{plus}{statistics.fmean(row['seconds'] for row in rows):.0f}",
        "-" if cost is None else f"{statistics.fmean(row['milliseconds'] for row in rows):.2f}",
        str(len(rows)),
    ]
    return f"| {' | '.join(cells)} |"


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
        f"Seeds {', '.join(map(str, seeds))}; mean ± sample standard deviation over seeds;"
        f" {', '.join(devices)}; torch {runs[0]['versions'].get('torch', '?')}; revision"
        f" {', '.join(revisions)}."
    )
