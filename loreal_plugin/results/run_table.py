"""The table of one run, in plain text, and what it says in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from loreal_plugin.results.notes import difference_interval, summary_sets, table_notes
from loreal_plugin.results.protocols import PROTOCOLS
from loreal_plugin.results.published import published_note
from loreal_plugin.results.row_fields import run_cells, run_heads
from loreal_plugin.results.run import Row, Run, run_of


def format_record(record: Mapping[str, Any]) -> str:
    """Return the table of the record of a run or of rivals."""
    return (format_rivals if record["kind"] == "rivals" else format_run)(record)


def format_run(record: Mapping[str, Any]) -> str:
    """Return the table of a run's record with the sentences below it."""
    run = run_of(record)
    protocol = PROTOCOLS[run.protocol]
    trained = protocol.trains
    # Base, New and HM say themselves which protocol it is
    name = "" if protocol.halves else f"{protocol.title}: "
    words = [f"{run['shots']} shots", f"seed {run['seed']}"] if trained else []
    title = f"{name}{_facts(run, *words)} (accuracy in %)"
    summary = _summary_head(run)
    heads = ["", *run.test_heads, *summary, *(run_heads() if trained else [])]
    body = [
        [*_scores(run, row, bool(summary)), *(_numbers(row) if trained else [])] for row in run.rows
    ]
    parts = [title, "", _text_table(heads, body)]
    parts += ["", *sentences(run)] if trained else []
    parts += ["", *notes] if (notes := table_notes(run)) else []
    note = ""
    if protocol.halves:
        of = (run["method"], run["phi"], run["dataset"], run["recipe"])
        note = published_note(*of, run.weights)
    return "\n".join([*parts, *([note] if note else [])]).rstrip()


def format_shots(records: Sequence[Mapping[str, Any]]) -> str:
    """Return one table over the shots of few-shot runs that are equal in everything else."""
    runs = [run_of(record) for record in records]
    first, summaries = runs[0], [run.summaries() for run in runs]
    body = [
        [row.label, *(f"{of[row.name]:.2f}" if row.name in of else "-" for of in summaries)]
        for row in first.rows
    ]
    facts = _facts(first, f"seed {first['seed']}")
    title = f"{PROTOCOLS[first.protocol].title}: {facts}, all classes (accuracy in %)"
    heads = ["shots", *(str(run["shots"]) for run in runs)]
    return f"{title}\n\n{_text_table(heads, body)}"


def format_rivals(record: Mapping[str, Any]) -> str:
    """Return the table of rivals: accuracies, and what a picture costs beyond reading it."""
    run = run_of(record)
    title = (
        f"Rivals of {run['method']}, tested at phi {run['phi']}, dataset {run['dataset']},"
        f" {run['shots']} shots, seed {run['seed']}, weights {run.weights} (accuracy in %)"
    )
    summary = _summary_head(run)
    body = [[*_scores(run, row, bool(summary)), *_rival_costs(row)] for row in run.rows]
    heads = ["", *run.test_heads, *summary, "tokens", "ms / picture", "ms in batches"]
    table = _text_table(heads, body)
    notes = [f"\n{note}" for note in table_notes(run)]
    return "\n".join([title, "", table, *notes])


def _rival_costs(row: Row) -> list[str]:
    """Return tokens, and milliseconds of a picture alone and of one in a batch."""
    tokens, alone = (row.numbers.get(name) for name in ("tokens", "picture_ms"))
    digits = ((tokens, 0), (alone, 2), (row.milliseconds or 0.0, 2))
    return ["-" if value is None else f"{value:.{n}f}" for value, n in digits]


def sentences(run: Run) -> list[str]:
    """Return what low resolution costs and what LOREAL gives back, in points, signed."""
    of, what = run.summaries(), run.summary_name
    phi, native, found = run["phi"], run["native_size"], []
    if {"native", "native_at_phi"} <= of.keys():
        change = of["native_at_phi"] - of["native"]
        text = f"Testing at {phi} instead of {native} changes {what} by {change:+.2f} points"
        if "phi" in of:
            text += f", training at {phi} too by {of['phi'] - of['native']:+.2f}"
        found.append(f"{text}.")
    if {"phi", "loreal"} <= of.keys():
        gain = of["loreal"] - of["phi"]
        host = f"the host trained and tested at {phi}"
        text = f"LOREAL changes {what} by {gain:+.2f} points against {host}"
        found.append(f"{text}{_share(run, gain)}.")
    if {"phi", "adapted"} <= of.keys():
        gain = of["adapted"] - of["phi"]
        ours = "The adapted image side (ours, not the paper's)"
        found.append(f"{ours} changes it by {gain:+.2f} points{_share(run, gain)}.")
    return found


def _share(run: Run, gain: float) -> str:
    """Return in words what share of the loss a gain is; empty where the loss itself is not certain,
    so that a share of it says nothing.
    """
    rows = {row.name: row for row in run.rows}
    if not {"native", "phi"} <= rows.keys():
        return ""
    if difference_interval(rows["native"], rows["phi"], summary_sets(run)).low <= 0:
        return ""
    lost = rows["native"].summary - rows["phi"].summary
    return f", {100 * gain / lost:+.0f} % of what was lost"


def _facts(run: Run, *more: str) -> str:
    """Return what was run, in words; the weights come last."""
    words = [run["method"], f"phi {run['phi']}", f"dataset {run['dataset']}", *more]
    return ", ".join([*words, f"weights {run.weights}"])


def _summary_head(run: Run) -> list[str]:
    """Return the head of the summary, nothing where it is one of the test sets' own accuracies."""
    if not run.roles:
        return ["HM"]
    return ["Average"] if run.across else []


def _scores(run: Run, row: Row, with_summary: bool) -> list[str]:
    """Return a row's label and its accuracies, the summary last."""
    numbers = [row.scores[name].accuracy for name in run.test_sets]
    numbers += [row.summary] if with_summary else []
    return [row.label, *(f"{number:.2f}" for number in numbers)]


def _numbers(row: Row) -> list[str]:
    """Return a row's numbers; LOREAL's come on top of both host stages, which the plus says."""
    plus = "+" if row.adds else ""
    return run_cells(row.numbers, plus)


def _text_table(heads: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a table in plain text, the first column to the left."""
    aligned = ("left", *("right",) * (len(heads) - 1))
    return tabulate(body, headers=heads, tablefmt="simple", disable_numparse=True, colalign=aligned)
