"""The table of what each row costs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from loreal_plugin.results.group import Group
from loreal_plugin.results.layout import Block, Cell, Table, average
from loreal_plugin.results.protocols import BASE2NEW
from loreal_plugin.results.published import COSTS, not_comparable
from loreal_plugin.results.reader import Result
from loreal_plugin.results.row_fields import report_cells, report_heads
from loreal_plugin.results.sections import row_names
from loreal_plugin.results.statistics import mean_std


def efficiency(block: Block) -> Table:
    """Return what each row costs: parameters, training, a test picture, memory."""
    why = not_comparable(BASE2NEW.name, frozenset(block.datasets), block.key.recipe)
    body = []
    for line in block.lines():
        method, row, groups = line
        plus = "+" if groups[0].results[0].content.adds else ""
        rows = [result.content.numbers for group in groups for result in group.results]
        training = _gathered(groups, lambda g: g.numbers(_train_milliseconds), 1)
        cells = [
            *report_cells(rows, plus, deviation=len(groups) == 1),
            training if training == "-" else f"{plus}{training}",
            _gathered(groups, Group.test_milliseconds, 2),
            _gathered(groups, Group.test_memory, 0),
            mean_std(average(groups, Group.summaries)),
            _published_cost(method, block.key.phi, row, why),
        ]
        body.append((*row_names(line), *map(Cell, cells)))
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
    " stands for what comes on top of both host stages. Over several datasets the mean stands"
    " alone: a deviation would be that of datasets."
)


def _gathered(groups: Sequence[Group], get: Callable[[Group], list[float]], digits: int) -> str:
    values = [value for group in groups for value in get(group)]
    if len(groups) > 1 and values:  # ± is over seeds everywhere, never over datasets
        values = [statistics.fmean(values)]
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
