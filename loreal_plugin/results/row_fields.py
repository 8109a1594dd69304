"""The numbers of a row beside its scores: the one list that every table reads.

A run's record writes them (`loreal_plugin.runs.records`), `results.record.RowFacts` types them.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loreal_plugin.results.statistics import mean_std


@dataclass(frozen=True)
class RowField:
    """A number that a run's record says of each row; LOREAL's may come on top of the host's stages.

    Attributes:
        name: its key in a row of `results.json`.
        head: of its column in the table of one run.
        report_head: of its column in tables over several runs; "" for the same head.
        digits: after the point, in the table of one run.
        counted: a count that no seed changes: tables list its values in place of a mean.
        whole: LOREAL's is no addition to the host's.
        report_digits: after the point, in tables over several runs.
    """

    name: str
    head: str
    report_head: str = ""
    digits: int = 0
    counted: bool = False
    whole: bool = False
    report_digits: int = 0


ROW_FIELDS = (
    RowField("parameters", "tunable parameters", counted=True),
    RowField("seconds", "seconds", report_head="training s", digits=1),
    RowField("tokens", "tokens", counted=True, whole=True),
    RowField("picture_ms", "ms / picture", digits=1, whole=True, report_digits=1),
)


def row_numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers that a row of a record has, by name of the field."""
    return {f.name: row[f.name] for f in ROW_FIELDS if row.get(f.name) is not None}


def run_heads() -> list[str]:
    """Return the heads of the fields' columns in the table of one run."""
    return [field.head for field in ROW_FIELDS]


def run_cells(numbers: Mapping[str, float], plus: str = "") -> list[str]:
    """Return a row's cells in the table of one run; a dash where a number is not known.

    Args:
        numbers: by name of the field.
        plus: stands before what comes on top of both host stages.
    """
    return [_one(field, numbers.get(field.name), plus) for field in ROW_FIELDS]


def report_heads() -> list[str]:
    """Return the heads of the fields' columns in tables over several runs."""
    return [field.report_head or field.head for field in ROW_FIELDS]


def report_cells(
    rows: Sequence[Mapping[str, float]], plus: str = "", deviation: bool = True
) -> list[str]:
    """Return a row's cells over several runs: counts, or mean ± sample standard deviation.

    Args:
        rows: the numbers of each run's row.
        plus: as for `run_cells`.
        deviation: False leaves the deviation out.
    """
    cells = []
    for field in ROW_FIELDS:
        known = [row[field.name] for row in rows if field.name in row]
        if field.counted:
            text = " / ".join(f"{value:,}" for value in sorted(set(known))) or "-"
        else:
            values = known if deviation or not known else [statistics.fmean(known)]
            text = mean_std(values, field.report_digits)
        cells.append(text if text == "-" or field.whole else f"{plus}{text}")
    return cells


def _one(field: RowField, value: float | None, plus: str) -> str:
    if value is None:
        return "-"
    plus = "" if field.whole else plus
    return f"{plus}{value:,}" if field.counted else f"{plus}{value:.{field.digits}f}"
