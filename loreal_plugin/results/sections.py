"""The tables of a report: LR-B2N, LR-CE, LR-DG, few-shot, own pictures."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from loreal_plugin.results.comparable import why_not
from loreal_plugin.results.comparisons import summary_interval
from loreal_plugin.results.group import Group
from loreal_plugin.results.layout import (
    Block,
    Cell,
    Line,
    Table,
    average,
    mark_best,
    method_name,
    shots_text,
    table_key,
)
from loreal_plugin.results.protocols import HALVES, PROTOCOLS, SOURCE
from loreal_plugin.results.published import published_average
from loreal_plugin.results.reader import Setting
from loreal_plugin.results.statistics import mean_std

INTERVAL = "95 % over pictures"


def base_to_new(block: Block) -> list[Table]:
    """Return the LR-B2N table of a block; with several datasets the average first, then HM by
    dataset.
    """
    several = len(block.datasets) > 1
    lines = _on_every_dataset(block) if several else block.scored_lines()
    halves = {
        half: [average(gs, partial(Group.accuracies, test_set=half)) for *_, gs in lines]
        for half in HALVES
    }
    hms = [average(groups, Group.summaries) for *_, groups in lines]
    low = [groups[0].low for *_, groups in lines]
    columns = [mark_best(values, low) for values in (*halves.values(), hms)]
    what = f"average of {len(block.datasets)} datasets" if several else block.datasets[0]
    tables = [_accuracies(f"{what}, {block.title}", lines, ("Base", "New", "HM"), columns)]
    return [*tables, _by_dataset(block)] if several else tables


def uncertainty(block: Block) -> list[Table]:
    """Return the table that stands folded below a block's accuracies: intervals over pictures,
    published numbers, numbers of seeds; one a source dataset where others are tested.
    """
    across = PROTOCOLS[block.key.protocol].across
    parts = [(f"trained on {name}", _of_source(block, name)) for name in block.datasets]
    if not across:
        several = len(block.datasets) > 1
        lines = _on_every_dataset(block) if several else block.scored_lines()
        what = f"average of {len(block.datasets)} datasets" if several else block.datasets[0]
        parts = [(what, lines)]
    return [_uncertain(f"{what}, {block.title}", block, lines) for what, lines in parts]


def _uncertain(caption: str, block: Block, lines: list[Line]) -> Table:
    published = _published(block.key.protocol, lines, block)
    unit = PROTOCOLS[block.key.protocol].unit.removesuffix(" (%)")
    body = [
        (
            *row_names(line),
            Cell(mean_std(average(line.groups, Group.summaries))),
            Cell(_robustness(line, lines)),
            _interval(line),
            published[i],
            _seed_counts(line),
        )
        for i, line in enumerate(lines)
    ]
    head = ("method", "row", unit, "robustness %", INTERVAL, "published", "seeds")
    return Table(caption, head, tuple(body))


ROBUSTNESS = (
    "robustness: what a row has of the accuracy of the same host at the native size, in percent"
    " (LR0.FM's relative robustness); of zero-shot CLIP, of CLIP's at the native size."
)


def _robustness(line: Line, lines: list[Line]) -> str:
    """Return a row's share of its host's summary at the native size, percent; a dash where that was
    not measured.
    """
    native = [gs for method, row, gs in lines if (method, row) == (line.method, "native")]
    if not native or line.row == "native":
        return "-"
    rows = native[0], line.groups
    whole, own = (statistics.fmean(average(groups, Group.summaries)) for groups in rows)
    return f"{100 * own / whole:.1f}" if whole else "-"


def _accuracies(
    caption: str, lines: list[Line], heads: Sequence[str], columns: Sequence[Sequence[Cell]]
) -> Table:
    """Return a table of accuracies, and of what a picture costs where a record says it."""
    costs = cost_columns(lines)
    whole = [*columns, *costs.values()]
    body = [(*row_names(line), *(column[i] for column in whole)) for i, line in enumerate(lines)]
    return Table(caption, ("method", "row", *heads, *costs), tuple(body))


def cost_columns(lines: Sequence[Line]) -> dict[str, list[Cell]]:
    """Return what a picture costs in each line, by head; nothing of what no record says."""
    heads = {"picture_ms": "ms / picture", "tokens": "tokens"}
    known = {head: [_cost(line, name) for line in lines] for name, head in heads.items()}
    return {head: cells for head, cells in known.items() if any(c.text != "-" for c in cells)}


def _cost(line: Line, name: str) -> Cell:
    """Return the mean of a row's number over datasets and seeds; a dash where no record has it."""
    known = [value for group in line.groups for value in group.field(name)]
    digits = 1 if name == "picture_ms" else 0
    return Cell(f"{statistics.fmean(known):.{digits}f}" if known else "-")


def _on_every_dataset(block: Block) -> list[Line]:
    """Return the lines that were tested on every dataset of the block: others have no average."""
    return [
        line
        for line in block.scored_lines()
        if len({g.setting.dataset for g in line.groups}) == len(block.datasets)
    ]


def _by_dataset(block: Block) -> Table:
    """Return HM by dataset, one column each."""
    lines = block.scored_lines()
    low = [groups[0].low for *_, groups in lines]
    columns = []
    for dataset in block.datasets:
        of_dataset = [[g for g in groups if g.setting.dataset == dataset] for *_, groups in lines]
        columns.append(mark_best([g[0].summaries() if g else [] for g in of_dataset], low))
    body = [(*row_names(line), *(column[i] for column in columns)) for i, line in enumerate(lines)]
    return Table(f"HM by dataset, {block.title}", ("method", "row", *block.datasets), tuple(body))


def every_class(block: Block) -> list[Table]:
    """Return accuracy on all classes, one table a dataset of one's own."""
    tables = []
    for dataset in block.datasets:
        lines = _of_source(block, dataset)
        low = [groups[0].low for *_, groups in lines]
        column = mark_best([groups[0].summaries() for *_, groups in lines], low)
        tables.append(_accuracies(f"{dataset}, {block.title}", lines, ("accuracy",), [column]))
    return tables


def targets(block: Block) -> list[Table]:
    """Return the LR-CE or LR-DG table of each source: accuracy on the source, on every target, and
    their average.
    """
    return [_targets_of(block, source) for source in block.datasets]


def _targets_of(block: Block, source: str) -> Table:
    lines = _of_source(block, source)
    roles = lines[0][2][0].results[0].roles
    names = sorted(roles, key=lambda name: roles[name] != SOURCE)
    low = [groups[0].low for *_, groups in lines]
    columns = [
        mark_best([groups[0].accuracies(name) for *_, groups in lines], low) for name in names
    ]
    columns.append(mark_best([groups[0].summaries() for *_, groups in lines], low))
    heads = [f"{n} (source)" if roles[n] == SOURCE else n for n in names]
    caption = f"trained on {source}, {block.title}"
    return _accuracies(caption, lines, (*heads, "target average"), columns)


def _of_source(block: Block, source: str) -> list[Line]:
    """Return the lines of the runs that were trained on one dataset."""
    lines = [
        line._replace(groups=[g for g in line.groups if g.setting.dataset == source])
        for line in block.scored_lines()
    ]
    return [line for line in lines if line.groups]


def _published(protocol: str, lines: list[Line], block: Block) -> list[Cell]:
    """Return the published number of each line, with the reason where it cannot be compared with
    ours.
    """
    cells = []
    for method, row, groups in lines:
        why = why_not(groups)
        value = published_average(protocol, method, block.key.phi, row)
        mark = f" (not comparable: {why})" if why else ""
        cells.append(Cell("-" if value is None else f"{value:.2f}{mark}"))
    return cells


def few_shot(blocks: Sequence[Block]) -> list[Table]:
    """Return accuracy against the number of shots, one table a dataset and setting."""
    found: dict[Setting, list[Group]] = defaultdict(list)
    for group in (group for block in blocks for group in block.groups):
        found[replace(table_key(group.setting), shots=0, dataset=group.setting.dataset)].append(
            group
        )
    tables = []
    for key, groups in found.items():
        shots = sorted({group.setting.shots for group in groups})
        lines = Block(key, tuple(groups)).scored_lines()
        low = [members[0].low for *_, members in lines]
        columns = []
        for n in shots:
            of_shots = [[g for g in members if g.setting.shots == n] for *_, members in lines]
            columns.append(mark_best([g[0].summaries() if g else [] for g in of_shots], low))
        body = [
            (*row_names(line), *(c[i] for c in columns), _seed_counts(line))
            for i, line in enumerate(lines)
        ]
        head = ("method", "row", *map(shots_text, shots), "seeds")
        tables.append(
            Table(f"{key.dataset}, all classes, {Block(key, ()).title}", head, tuple(body))
        )
    return tables


def row_names(line: Line) -> tuple[Cell, Cell]:
    """Return the cells of method and row."""
    return Cell(method_name(line.method)), Cell(line.groups[0].label)


def _interval(line: Line) -> Cell:
    """Return the interval over pictures of a line's summary; a dash for an average of datasets."""
    found = summary_interval(line.groups[0]) if len(line.groups) == 1 else None
    return Cell("-" if found is None else str(found))


def _seed_counts(line: Line) -> Cell:
    """Return over how many seeds a line goes; the smallest and largest number where they differ."""
    counts = sorted({len(group.seeds) for group in line.groups})
    return Cell(str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}")
