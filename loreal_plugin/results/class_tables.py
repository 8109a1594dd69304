"""Recall of each class in every row, and which classes are taken for which."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from tabulate import tabulate

from loreal_plugin.errors import LorealError
from loreal_plugin.plain_output import counted
from loreal_plugin.results.group import Group
from loreal_plugin.results.layout import ROWS, Block, Cell, Table
from loreal_plugin.results.per_class import Measured, first_of
from loreal_plugin.results.run import Row, Run

SHOWN, SHOWN_IN_REPORT = 20, 10  # classes of a table: the worst ones
OLD_RECORD = (
    "the record does not say what each picture was called (an older release wrote it); the same"
    " command with --test-only tests again and trains nothing"
)
Recalls = list[tuple[str, list[float]]]  # class, percent in each column


def class_text(run: Run) -> str:
    """Return the worst classes of every test set of a run with their recalls, and the confusions.

    Raises:
        LorealError: the record does not hold what each picture was called.
    """
    parts = [part for name in run.test_sets if (part := _of_test_set(run, name))]
    if not parts:
        raise LorealError(OLD_RECORD)
    heads = [f"{short_name(row.name, run)}: {row.label}" for row in run.rows]
    return "\n\n".join([*parts, "\n".join(heads)])


def _of_test_set(run: Run, name: str) -> str:
    """Return the table of one test set; empty where no row has predicted classes."""
    rows = answered(run.rows, name)
    if not rows:
        return ""
    last, measured = list(rows.items())[-1]
    table, rest = recall_lines([[one] for one in rows.values()], SHOWN)
    body = [[name, *(f"{value:.0f}" for value in values)] for name, values in table]
    heads = ["class", *(short_name(row, run) for row in rows)]
    aligned = ("left", *("right",) * len(rows))
    text = tabulate(body, headers=heads, disable_numparse=True, colalign=aligned)
    pictures = counted(len(measured.labels), "picture")
    title = f"Recall by class in %, {name}: {pictures}, worst class first"
    lines = [
        title,
        "",
        text,
        *([f"... and {counted(rest, 'class')} with a higher recall"] if rest else []),
    ]
    confused = [f"  {a} is called {b}: {n} of {of}" for a, b, n, of in measured.frequent()]
    lines += (
        ["", f"Confusions that matter, {short_name(last, run)}:", *confused] if confused else []
    )
    return "\n".join(lines)


def answered(rows: Sequence[Row], name: str) -> dict[str, Measured]:
    """Return the answers on a test set by row, without rows that do not tell them."""
    scores = {row.name: row.scores[name] for row in rows if name in row.scores}
    return {row: one for row, score in scores.items() if (one := score.answers)}


def block_class_tables(block: Block) -> list[Table]:
    """Return the recalls of a block's runs, a table for each dataset, method and test set, with the
    confusions of the last row below it; none of records without predicted classes.
    """
    found = []
    for dataset in block.datasets:
        for method in dict.fromkeys(g.setting.method for g in block.groups if not g.rival):
            lines = [
                g
                for _, _, groups in block.lines()
                for g in groups
                if (g.setting.dataset, g.setting.method) == (dataset, method) and g.row in ROWS
            ]
            names = lines[0].results[0].scores if lines else ()
            found += [t for name in names if (t := _class_table(block, lines, name))]
    return found


def _class_table(block: Block, groups: Sequence[Group], name: str) -> Table | None:
    columns: dict[str, list[Measured]] = {}
    for group in groups:
        scores = [result.scores[name] for result in group.results if name in result.scores]
        known = [answers for score in scores if (answers := score.answers)]
        columns |= {group.row: known} if known else {}
    if not columns:
        return None
    lines, rest = recall_lines(list(columns.values()), SHOWN_IN_REPORT)
    body = [(Cell(label), *(Cell(f"{value:.0f}") for value in values)) for label, values in lines]
    sizes = {"native_size": groups[0].native_size, "phi": block.key.phi}
    last, ones = list(columns.items())[-1]
    # confusions are counted over all seeds together
    pooled = Measured(
        ones[0].classnames,
        [label for one in ones for label in one.labels],
        [label for one in ones for label in one.predicted],
    )
    setting = groups[0].setting
    where = f"{name} of {setting.dataset}, {setting.method}, {block.title}"
    confused = [f"{a} is called {b} ({n} of {m})" for a, b, n, m in pooled.frequent()]
    row = short_name(last, sizes)
    notes = [f"{counted(rest, 'class')} with a higher recall left out."] if rest else []
    notes += [f"Confusions that matter, {row}: {'; '.join(confused)}."] if confused else []
    heads = ("class", *(short_name(row, sizes) for row in columns))
    return Table(f"Recall in %, {where}", heads, tuple(body), words=1, notes=tuple(notes))


def recall_lines(columns: Sequence[Sequence[Measured]], shown: int) -> tuple[Recalls, int]:
    """Return recalls by class, the lowest of the last column first, and how many are left out.

    Args:
        columns: answers; those of one column (several seeds) are averaged.
        shown: how many classes.
    """
    recalls = [[one.recalls() for one in ones] for ones in columns]
    labels = set.intersection(*(set(one) for ones in recalls for one in ones))
    names = columns[-1][0].names
    # by label: two classes may have the same name
    found = [
        (names[label], [_mean_percent(one[label] for one in ones) for ones in recalls])
        for label in sorted(labels)
    ]
    return first_of(sorted(found, key=lambda line: line[1][-1]), shown)


def _mean_percent(recalls: Iterable[tuple[int, int]]) -> float:
    return statistics.fmean(100 * right / pictures for right, pictures in recalls)


def short_name(row: str, run: Run | Mapping[str, int]) -> str:
    """Return a row's name as the head of a narrow column."""
    native, phi = run["native_size"], run["phi"]
    names = {
        "native": str(native),
        "native_at_phi": f"{native} read at {phi}",
        "phi": str(phi),
        "loreal": "LOREAL",
        "adapted": "adapted",
    }
    return names.get(row, row)
