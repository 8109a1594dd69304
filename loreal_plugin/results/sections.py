"""The tables of a report: LR-B2N, LR-CE, LR-DG, few-shot, efficiency, variants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from loreal_plugin.results.comparisons import compare, difference_cells, summary_interval
from loreal_plugin.results.group import Group
from loreal_plugin.results.layout import (
    Block,
    Cell,
    Table,
    average,
    is_variant,
    mark_best,
    method_name,
    overrides_text,
    shots_text,
    table_key,
)
from loreal_plugin.results.protocols import BASE2NEW, HALVES, SOURCE, TARGET
from loreal_plugin.results.published import COSTS, not_comparable, published_average
from loreal_plugin.results.reader import Result, Setting
from loreal_plugin.results.row_fields import report_cells, report_heads
from loreal_plugin.results.statistics import mean_std

Lines = list[tuple[str, str, list[Group]]]
INTERVAL = "95 % over pictures"


def base_to_new(block: Block) -> list[Table]:
    """Return the LR-B2N table of a block; with several datasets the average first, then HM by
    dataset.
    """
    several = len(block.datasets) > 1
    lines = _whole(block) if several else block.scored_lines()
    halves = {
        half: [average(gs, partial(Group.accuracies, test_set=half)) for *_, gs in lines]
        for half in HALVES
    }
    hms = [average(groups, Group.summaries) for *_, groups in lines]
    low = [groups[0].low for *_, groups in lines]
    columns = [mark_best(values, low) for values in (*halves.values(), hms)]
    published = _published(BASE2NEW.name, lines, block, frozenset(block.datasets))
    what = f"average of {len(block.datasets)} datasets" if several else block.datasets[0]
    body = [
        (*_names(line), *(column[i] for column in columns), _interval(line), published[i], _n(line))
        for i, line in enumerate(lines)
    ]
    head = ("method", "row", "Base", "New", "HM", INTERVAL, "published HM", "n")
    tables = [Table(f"{what}, {block.title}", head, tuple(body))]
    return [*tables, _by_dataset(block)] if several else tables


def _whole(block: Block) -> Lines:
    """Return the lines that were tested on every dataset of the block: others have no average."""
    return [
        line
        for line in block.scored_lines()
        if len({g.setting.dataset for g in line[2]}) == len(block.datasets)
    ]


def _by_dataset(block: Block) -> Table:
    """Return HM by dataset, one column each."""
    lines = block.scored_lines()
    low = [groups[0].low for *_, groups in lines]
    columns = []
    for dataset in block.datasets:
        of_dataset = [[g for g in groups if g.setting.dataset == dataset] for *_, groups in lines]
        columns.append(mark_best([g[0].summaries() if g else [] for g in of_dataset], low))
    body = [(*_names(line), *(column[i] for column in columns)) for i, line in enumerate(lines)]
    return Table(f"HM by dataset, {block.title}", ("method", "row", *block.datasets), tuple(body))


def targets(block: Block) -> list[Table]:
    """Return the LR-CE or LR-DG table of each source: accuracy on the source, on every target, and
    their average.
    """
    return [_targets_of(block, source) for source in block.datasets]


def _targets_of(block: Block, source: str) -> Table:
    lines = [
        (m, r, [g for g in gs if g.setting.dataset == source]) for m, r, gs in block.scored_lines()
    ]
    lines = [line for line in lines if line[2]]
    roles = lines[0][2][0].results[0].roles
    names = sorted(roles, key=lambda name: roles[name] != SOURCE)
    low = [groups[0].low for *_, groups in lines]
    columns = [
        mark_best([groups[0].accuracies(name) for *_, groups in lines], low) for name in names
    ]
    columns.append(mark_best([groups[0].summaries() for *_, groups in lines], low))
    tested = frozenset(name for name in names if roles[name] == TARGET)
    published = _published(block.key.protocol, lines, block, tested)
    head = (
        "method",
        "row",
        *(f"{n} (source)" if roles[n] == SOURCE else n for n in names),
        "target average",
        INTERVAL,
        "published",
        "n",
    )
    body = [
        (*_names(line), *(column[i] for column in columns), _interval(line), published[i], _n(line))
        for i, line in enumerate(lines)
    ]
    return Table(f"trained on {source}, {block.title}", head, tuple(body))


def _published(protocol: str, lines: Lines, block: Block, datasets: frozenset[str]) -> list[Cell]:
    """Return the published number of each line, with the reason where it cannot be compared with
    ours.
    """
    why = not_comparable(protocol, datasets, block.key.recipe)
    cells = []
    for method, row, _ in lines:
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
        body = [(*_names(line), *(c[i] for c in columns), _n(line)) for i, line in enumerate(lines)]
        head = ("method", "row", *map(shots_text, shots), "n")
        tables.append(
            Table(f"{key.dataset}, all classes, {Block(key, ()).title}", head, tuple(body))
        )
    return tables


def efficiency(block: Block) -> Table:
    """Return what each row costs: parameters, training, a test picture, memory."""
    why = not_comparable(BASE2NEW.name, frozenset(block.datasets), block.key.recipe)
    body = []
    for method, row, groups in block.lines():
        plus = "+" if groups[0].results[0].content.adds else ""
        rows = [result.content.numbers for group in groups for result in group.results]
        training = _gathered(groups, lambda g: g.numbers(_train_milliseconds), 1)
        cells = [
            *report_cells(rows, plus),
            training if training == "-" else f"{plus}{training}",
            _gathered(groups, Group.test_milliseconds, 2),
            _gathered(groups, Group.test_memory, 0),
            mean_std(average(groups, Group.summaries)),
            _published_cost(method, block.key.phi, row, why),
        ]
        body.append((*_names((method, row, groups)), *map(Cell, cells)))
    head = (
        "method",
        "row",
        *report_heads(),
        "ms / training picture",
        "ms / test picture",
        "test memory MB",
        "accuracy",
        "published cost",
    )
    return Table(f"{', '.join(block.datasets)}, {block.title}", head, tuple(body))


EFFICIENCY_NOTE = (
    "Seconds and milliseconds are of the device named at the top and only compare with each other."
    " A test picture's time includes building the model and reading the pictures, except for"
    " rivals, which are timed without; where a test read embeddings that another test had kept,"
    " what these had taken is added. Training seconds include the training's own final test. A plus"
    " stands for what comes on top of both host stages."
)


def _gathered(groups: Sequence[Group], get: Callable[[Group], list[float]], digits: int) -> str:
    values = [value for group in groups for value in get(group)]
    return mean_std(values, digits)


def _train_milliseconds(result: Result) -> float | None:
    pictures, seconds = result.train_pictures, result.content.numbers.get("seconds")
    return 1000 * seconds / pictures if pictures and seconds else None


def _published_cost(method: str, phi: int, row: str, why: str) -> str:
    cost = COSTS.get((method, phi))
    if cost is None or row not in ("phi", "loreal"):
        return "-"
    mark = f" (not comparable: {why})" if why else " (their GPU)"
    if row == "loreal":
        parameters, train, test, memory = cost.added
        return f"+{parameters:g}K, +{train:g} and +{test:g} ms, +{memory:g} MB{mark}"
    return (
        f"{cost.parameters:g}K, {cost.train_ms:g} and {cost.test_ms:g} ms, {cost.memory_mb:g}"
        f" MB{mark}"
    )


def variants(groups: Sequence[Group]) -> list[Table]:
    """Return runs that change only stage 3, against the same run without the change, one table a
    setting.
    """
    found: dict[Setting, list[Group]] = defaultdict(list)
    for group in groups:
        if group.row == "loreal" and is_variant(group, groups):
            found[replace(group.setting, method="", overrides=())].append(group)
    tables = []
    for key in sorted(
        found, key=lambda k: (k.protocol, k.dataset, k.weights, k.host, k.shots, k.phi, k.recipe)
    ):
        members, body = found[key], []
        for group in sorted(members, key=lambda g: (g.setting.method, g.setting.overrides)):
            plain = next(
                (
                    g
                    for g in groups
                    if g.row == "loreal" and g.setting == replace(group.setting, overrides=())
                ),
                None,
            )
            if plain is None:
                continue
            changed = overrides_text(group.setting.overrides).replace("loreal TRAINER.LOREAL.", "")
            against = difference_cells(compare(group, plain))
            cells = (
                group.setting.method,
                changed,
                mean_std(group.summaries()),
                *against,
                str(len(group.seeds)),
            )
            body.append(tuple(map(Cell, cells)))
        head = (
            "method",
            "changed",
            "accuracy with LOREAL",
            "against the unchanged run",
            INTERVAL,
            "p",
            "n",
        )
        tables.append(
            Table(f"{key.protocol}, {key.dataset}, {Block(key, ()).title}", head, tuple(body))
        )
    return tables


def _names(line: tuple[str, str, list[Group]]) -> tuple[Cell, Cell]:
    method, row, groups = line
    return Cell(method_name(method, row)), Cell(groups[0].label)


def _interval(line: tuple[str, str, list[Group]]) -> Cell:
    """Return the interval over pictures of a line's summary; a dash for an average of datasets."""
    found = summary_interval(line[2][0]) if len(line[2]) == 1 else None
    return Cell("-" if found is None else str(found))


def _n(line: tuple[str, str, list[Group]]) -> Cell:
    """Return over how many seeds a line goes; the smallest and largest number where they differ."""
    counts = sorted({len(group.seeds) for group in line[2]})
    return Cell(str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}")
