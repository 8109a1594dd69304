"""Markdown tables over many runs: mean and standard deviation over seeds, from results.json files
only.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from loreal_plugin.errors import LorealError
from loreal_plugin.plain_output import counted
from loreal_plugin.results.group import Refusal, repetitions
from loreal_plugin.results.layout import shots_text
from loreal_plugin.results.lookup import Lookup
from loreal_plugin.results.protocols import BASE2NEW, HALVES
from loreal_plugin.results.published import PUBLISHED_SHOTS
from loreal_plugin.results.reader import Result, is_set_aside, results_of, setting_of
from loreal_plugin.results.record import RESULTS, read_results
from loreal_plugin.results.row_fields import report_cells, report_heads
from loreal_plugin.results.run import Row, run_of
from loreal_plugin.results.statistics import mean_std
from loreal_plugin.results.variants import Placed, place


@dataclass(frozen=True)
class TableRun(Placed):
    """A run's rows in the table that they belong to, and what tells whether they are repetitions of
    those of other runs.
    """

    results: tuple[Result, ...] = ()


class Section(NamedTuple):
    """What runs of one section share; they differ in method and seed."""

    dataset: str
    configuration: str
    phi: int
    shots: int
    host: str
    weights: str

    def title(self, with_shots: bool) -> str:
        """Return the heading; a host is named where it is not the embedded one."""
        shots = f"{shots_text(self.shots)}, " if with_shots else ""
        host = "" if self.host in ("", "embedded") else f", host {self.host}"
        return (
            f"### {self.dataset}, phi {self.phi}, {shots}weights {self.weights}{host},"
            f" configuration `{self.configuration}`"
        )


def read_runs(out: Path) -> list[TableRun]:
    """Return every finished base-to-new run and rivals' record below an output folder; what was
    set aside does not count.

    Raises:
        LorealError: there is none.
    """
    found: dict[tuple[object, ...], tuple[TableRun, int]] = {}
    for folder, placed in _records(out):
        run = placed.run
        facts = (run[key] for key in ("phi", "method", "seed", "shots"))
        name = (run["dataset"], folder, *facts, run.weights, run.rivals)
        # a run that was stopped after stage 2 and then went on has left two records with the same
        # rows
        if name not in found or len(run.rows) > found[name][1]:
            found[name] = placed, len(run.rows)
    if not found:
        raise LorealError(
            f"no finished run below {out / BASE2NEW.name / BASE2NEW.record};"
            f" run {BASE2NEW.script}.sh first"
        )
    return [placed for placed, _ in found.values()]


def _records(out: Path) -> Iterator[tuple[str, TableRun]]:
    """Yield the records that have rows, each with the name of its configuration folder."""
    records: dict[Path, Mapping[str, Any]] = {}
    for kind in (BASE2NEW.record, "rivals"):
        for path in sorted((out / BASE2NEW.name / kind).rglob(RESULTS)):
            found = None if is_set_aside(path) else read_results(path.parent)
            records |= {path: found} if found else {}
    lookup = Lookup(out, records)  # stages without rows tell what those of a run rest on
    for path, record in records.items():
        if not record.get("rows"):
            continue
        if "label" not in record["rows"][0]:
            raise LorealError(
                f"{path} is of an older release; run `loreal rivals` with its arguments again"
            )
        folder = path.parent.parent.name
        placed = place(run_of(record), folder, lookup.unchanged(record))
        yield folder, TableRun(**vars(placed), results=tuple(results_of(path, record, lookup)))


def format_seed_tables(runs: Sequence[TableRun]) -> str:
    """Return one markdown section a dataset, configuration, phi, shots, host and weights, one table
    each with every method.

    Headings name the shots where they are not the paper's in every run. What differs in more than
    the seed is named below the table instead of averaged, as in a report.
    """
    groups: dict[Section, list[TableRun]] = defaultdict(list)
    for placed in runs:
        groups[_section_of(placed)].append(placed)
    with_shots = {section.shots for section in groups} != {PUBLISHED_SHOTS}
    parts = [_table(name.title(with_shots), groups[name]) for name in sorted(groups)]
    return "\n\n".join(parts) + "\n"


def _section_of(placed: Placed) -> Section:
    """Return the section that a run stands in."""
    s = setting_of(placed.run)
    return Section(s.dataset, placed.configuration, s.phi, s.shots, s.host, s.weights)


def _table(title: str, runs: list[TableRun]) -> str:
    """Return a section: heading, table, where its runs come from, and what was not averaged."""
    heads = ["method", "row", "Base", "New", "HM", *report_heads(), "ms in batches", "n"]
    lines = [
        title,
        "",
        f"| {' | '.join(heads)} |",
        "|---|---|" + "---:|" * (len(heads) - 2),
    ]
    refused: list[Refusal] = []
    for method in sorted({placed.run["method"] for placed in runs}):
        of_method = [placed for placed in runs if placed.run["method"] == method]
        for results in _by_row(of_method):
            unique, reason = repetitions(results)
            if reason:
                refused.append(Refusal(results[0].setting, results[0].row, reason))
            else:
                lines.append(_row_line(method, [result.content for result in unique]))
    below = [part for refusal in refused for part in ("", f"not averaged: {refusal}")]
    return "\n".join([*lines, "", _provenance(runs), *below])


def _by_row(runs: list[TableRun]) -> list[list[Result]]:
    """Return the results of one method by name of the row: the four rows first, then variants, then
    rivals.
    """
    by_name: dict[str, list[Result]] = defaultdict(list)
    for placed in sorted(runs, key=lambda placed: placed.order):
        for result in placed.results:
            by_name[result.row].append(result)
    return list(by_name.values())


def _row_line(method: str, rows: list[Row]) -> str:
    """Return one line; what LOREAL adds to the host carries a plus, what a rival does not train a
    dash.
    """
    plus = "+" if rows[0].adds else ""
    times = [row.milliseconds for row in rows if row.milliseconds is not None]
    cells = [
        method,
        rows[0].label,
        *(mean_std([row.scores[half].accuracy for row in rows]) for half in HALVES),
        mean_std([row.summary for row in rows]),
        *report_cells([row.numbers for row in rows], plus, deviation=False),
        f"{statistics.fmean(times):.2f}" if times else "-",
        str(len(rows)),
    ]
    return f"| {' | '.join(cells)} |"


def _provenance(runs: Sequence[Placed]) -> str:
    """Return seeds, devices and revisions of a group in one line."""
    records = [placed.run for placed in runs]
    seeds = sorted({run["seed"] for run in records})
    devices = sorted({f"{run['device']} ({counted(run['threads'], 'thread')})" for run in records})
    revisions = sorted({(run["git_revision"] or "no checkout")[:12] for run in records})
    return (
        f"Seeds {', '.join(map(str, seeds))}; mean ± sample standard deviation over seeds;"
        f" {', '.join(devices)}; torch {records[0]['versions'].get('torch', '?')}; revision"
        f" {', '.join(revisions)}."
    )
