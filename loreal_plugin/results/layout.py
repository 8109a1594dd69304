"""Which groups stand in one table: runs of one protocol, phi, shots, weights and host, with the
same overrides.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from loreal_plugin.contract import CONTRACTS
from loreal_plugin.plain_output import counted
from loreal_plugin.results.changed_runs import ChangedRuns
from loreal_plugin.results.group import Group
from loreal_plugin.results.reader import ZERO_SHOT_METHOD, Setting
from loreal_plugin.results.statistics import mean_std
from loreal_plugin.results.zero_shot_rows import zero_shot_rows

ROWS = ("native", "native_at_phi", "phi", "phi_longer", "loreal", "adapted")
# model of a rival that corrects nothing -> the row of a run that says the same
_REPEATED = {"zero-shot": "phi", "alpha": "native_at_phi", "beta": "phi"}


@dataclass(frozen=True)
class Cell:
    """A table cell; `best` puts it in bold."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table: caption, head, body; the first `words` columns are text, the others numbers."""

    caption: str
    head: tuple[str, ...]
    body: tuple[tuple[Cell, ...], ...]
    words: int = 2
    notes: tuple[str, ...] = ()


class Line(NamedTuple):
    """A line of a table: a row of a method, and its groups by dataset."""

    method: str
    row: str
    groups: list[Group]


class Kind(NamedTuple):
    """What the groups of one list of choices have in common, a dataset and a protocol apart."""

    weights: str
    shots: int
    targets: tuple[str, ...]

    @property
    def title(self) -> str:
        """Return it in words."""
        text = f"{shots_text(self.shots)}, weights {weights_text(self.weights)}"
        return text + targets_text(self.targets)


@dataclass(frozen=True)
class Block:
    """The groups of one table or family of tables, by setting; `key` is a setting without method
    and dataset.
    """

    key: Setting
    groups: tuple[Group, ...]

    @property
    def datasets(self) -> list[str]:
        """Return the datasets, sorted."""
        return sorted({group.setting.dataset for group in self.groups})

    @property
    def title(self) -> str:
        """Return the block's settings in words."""
        return self.title_without("")

    def title_without(self, free: str) -> str:
        """Return the block's settings in words, `phi` or `shots` left out."""
        k = self.key
        shots = f", {shots_text(k.shots)}" if k.shots and free != "shots" else ""
        phi = ("" if free == "phi" else f"phi {k.phi}") + targets_text(k.targets)
        host = "" if k.host == "embedded" else f", host {k.host}"
        changed = f", {changes_text(k.overrides)}" if k.overrides else ""
        text = f"{phi}{shots}, weights {weights_text(k.weights)}{host}{changed}"
        return text.removeprefix(", ")

    def without_rivals(self) -> Block:
        """Return the block without rivals; itself where it has nothing else."""
        own = tuple(group for group in self.groups if not group.rival)
        return replace(self, groups=own) if own else self

    def best_rival(self) -> str:
        """Return which rival has the highest accuracy, in a sentence; empty without rivals beside
        runs.
        """
        rivals = [group for group in self.groups if group.rival]
        if not rivals or len(rivals) == len(self.groups) or len(self.datasets) > 1:
            return ""
        best = max(rivals, key=lambda group: statistics.fmean(group.summaries()))
        times, score = best.picture_times(), statistics.fmean(best.summaries())
        cost = f" at {statistics.fmean(times):.1f} ms a picture" if times else ""
        name = f"{method_name(best.setting.method)}: {best.label}"
        return f"Of {len(rivals)} rivals (folded below) the best is {name}, {score:.2f} %{cost}."

    def lines(self) -> list[Line]:
        """Return the lines in the order of a table."""
        found: dict[tuple[str, str], list[Group]] = defaultdict(list)
        for group in self.groups:
            found[group.setting.method, group.row].append(group)
        return [Line(*name, found[name]) for name in sorted(found, key=_place)]

    def scored_lines(self) -> list[Line]:
        """Return `lines` without rivals that correct nothing: they repeat a row of a run, their
        cost apart.
        """
        there = {(group.setting.method, group.row) for group in self.groups}
        return [
            line
            for line in self.lines()
            if (line.method, _REPEATED.get(line.groups[0].results[0].repeats)) not in there
        ]


def shots_text(shots: int) -> str:
    """Return a number of shots in words."""
    return f"{counted(shots, 'shot')}"


def weights_text(weights: str) -> str:
    """Return weights as a reader knows them: of a file its name, not its folder."""
    return Path(weights).name if Path(weights).is_absolute() else weights


def overrides_text(overrides: Sequence[str]) -> str:
    """Return overrides in one line; of a file its name."""
    return "; ".join(" ".join(map(weights_text, text.split(" "))) for text in overrides)


def changes_text(overrides: Sequence[str]) -> str:
    """Return overrides in one line; of those of stage 3 the names without what they all share."""
    return overrides_text(overrides).replace("loreal TRAINER.LOREAL.", "")


def targets_text(targets: Sequence[str]) -> str:
    """Return the targets that a run named as the rest of a title; nothing for those of a source."""
    return f", targets {' '.join(targets)}" if targets else ""


def kind_of(group: Group) -> Kind:
    """Return what the groups of one list of choices have in common."""
    return Kind(group.setting.weights, group.setting.shots, group.setting.targets)


def method_order() -> list[str]:
    """Return zero-shot CLIP and the methods that have a row, in the order of tables."""
    return [ZERO_SHOT_METHOD, *CONTRACTS]


def _place(name: tuple[str, str]) -> tuple[int, int, int, str]:
    """Return the place of (method, row): the host, LOREAL and its controls, then rivals."""
    method, row = name
    methods = method_order()
    of_method = methods.index(method) if method in methods else len(methods)
    known = ROWS.index(row) if row in ROWS else len(ROWS)
    return of_method, known, 0 if row.startswith("loreal") else 1, row


def blocks_of(groups: Sequence[Group], protocol: str) -> list[Block]:
    """Return a protocol's blocks, zero-shot CLIP's results of the same phi and weights beside them.

    Runs that keep the students of another run, which they change, have no block of their own.
    """
    changed = ChangedRuns(groups)
    plain = [g for g in groups if g.setting.protocol == protocol and g not in changed]
    found: dict[Setting, list[Group]] = defaultdict(list)
    for group in plain:
        found[table_key(group.setting)].append(group)
    blocks = []
    for key in sorted(
        found,
        key=lambda k: (k.weights, k.host, k.overrides, k.targets, k.shots, k.phi, k.recipe),
    ):
        members = found[key]
        blocks.append(Block(key, (*members, *zero_shot_rows(groups, key, members))))
    return blocks


def table_key(setting: Setting) -> Setting:
    """Return a setting without method and dataset."""
    return replace(setting, method="", dataset="")


def average(groups: Sequence[Group], get: Callable[[Group], list[float]]) -> list[float]:
    """Return, for each seed that every group has, the mean over groups; the mean of their means
    where none is common.

    The average HM of the paper is the mean over datasets of each dataset's HM.
    """
    common = sorted(set.intersection(*(set(group.seeds) for group in groups)))
    if not common:
        means = [statistics.fmean(get(group)) for group in groups if get(group)]
        return [statistics.fmean(means)] if means else []
    picked = [dict(zip(group.seeds, get(group), strict=False)) for group in groups]
    return [
        statistics.fmean(values[seed] for values in picked)
        for seed in common
        if all(seed in values for values in picked)
    ]


def mark_best(lines: Sequence[Sequence[float]], allowed: Sequence[bool]) -> list[Cell]:
    """Return the cells of one column; the best mean among the allowed lines is bold.

    Args:
        lines: values over seeds of each line.
        allowed: which lines compete: those that read small pictures.
    """
    # rounded as they are shown: equal numbers are all in bold
    means = [
        round(statistics.fmean(values), 2) if values and ok else None
        for values, ok in zip(lines, allowed, strict=True)
    ]
    top = max((mean for mean in means if mean is not None), default=None)
    competing = sum(mean is not None for mean in means) > 1
    return [
        Cell(mean_std(values), competing and mean is not None and mean == top)
        for values, mean in zip(lines, means, strict=True)
    ]


def method_name(method: str) -> str:
    """Return the text of the method column."""
    return "CLIP" if method == ZERO_SHOT_METHOD else method
