"""The tables of runs that change another run and keep its frozen students."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from loreal_plugin.results.changed_runs import ADDED, ChangedRuns
from loreal_plugin.results.comparisons import compare, difference_cells
from loreal_plugin.results.group import Group
from loreal_plugin.results.layout import Block, Cell, Line, Table, changes_text
from loreal_plugin.results.reader import Setting
from loreal_plugin.results.sections import INTERVAL, cost_columns
from loreal_plugin.results.statistics import mean_std

VARIANTS = (
    "Each line is a row of a run that changes one which stands above, against the same row of the"
    " latter; the host's students, and so its rows, are the same in both. Rows that a change leaves"
    " as they are, are not repeated."
)


def variants(groups: Sequence[Group]) -> list[Table]:
    """Return what runs with the students of another run change, one table a setting."""
    changed = ChangedRuns(groups)
    found: dict[Setting, list[Group]] = defaultdict(list)
    for group in changed.added(groups):
        found[replace(group.setting, method="", overrides=())].append(group)
    keys = sorted(
        found, key=lambda k: (k.protocol, k.dataset, k.weights, k.host, k.shots, k.phi, k.recipe)
    )
    return [_table(key, found[key], changed) for key in keys]


def _table(key: Setting, members: Sequence[Group], changed: ChangedRuns) -> Table:
    ordered = sorted(members, key=_place)
    costs = cost_columns([Line(g.setting.method, g.row, [g]) for g in ordered])
    body = []
    for i, group in enumerate(ordered):
        plain = changed.unchanged(group)
        cells = (
            group.setting.method,
            changes_text(group.setting.overrides),
            group.label,
            mean_std(group.summaries()),
            *difference_cells(compare(group, plain) if plain else None),
        )
        cost = (column[i] for column in costs.values())
        body.append((*map(Cell, cells), *cost, Cell(str(len(group.seeds)))))
    head = ("method", "changed", "row", "accuracy", "against the unchanged run", INTERVAL, "p")
    caption = f"{key.protocol}, {key.dataset}, {Block(key, ()).title}"
    return Table(caption, (*head, *costs, "seeds"), tuple(body), words=3)


def _place(group: Group) -> tuple[str, int, tuple[str, ...]]:
    """Return a line's place: changes of one row stand together."""
    return group.setting.method, ADDED.index(group.row), group.setting.overrides
