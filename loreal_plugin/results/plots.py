"""The report's pictures as PNG: accuracy and gain against phi, accuracy against shots, cost against
accuracy.
"""

from __future__ import annotations

import io
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loreal_plugin.contract import CONTRACTS
from loreal_plugin.results.group import Group
from loreal_plugin.results.layout import average, method_order
from loreal_plugin.results.reader import ZERO_SHOT_METHOD

STYLES = {
    "native": ("trained and tested at the native size", "0.35", ":", ""),
    "native_at_phi": ("host, trained at the native size, tested at phi", "tab:orange", "--", "o"),
    "phi": ("host, trained and tested at phi", "tab:blue", "-", "s"),
    "loreal": ("+ LOREAL", "tab:red", "-", "D"),
    "adapted": ("+ adapted image side", "tab:green", "-", "^"),
}
# Where no model was trained.
UNTRAINED = {"native": "at the native size", "phi": "at phi"}
ZERO_SHOT_COLOUR, UNKNOWN_COLOUR = "0.4", "black"
MARKERS = {"native": "*", "native_at_phi": "v", "phi": "o", "loreal": "D", "adapted": "^"}
RIVAL_MARKERS = "PX^<>hdp"


@dataclass(frozen=True)
class Picture:
    """A drawn picture: file name without ending, what it shows, PNG bytes."""

    name: str
    caption: str
    png: bytes


def colour_of(method: str) -> str:
    """Return the colour of a method, as its row says; a method without a row is black."""
    if method == ZERO_SHOT_METHOD:
        return ZERO_SHOT_COLOUR
    return CONTRACTS[method].colour if method in CONTRACTS else UNKNOWN_COLOUR


def accuracy_picture(
    name: str, caption: str, groups: Sequence[Group], *, axis: str, unit: str
) -> Picture | None:
    """Draw accuracy against `phi` or `shots`, one panel a method; None where there is a single
    point.

    Args:
        axis: the field of the setting that runs along x.
        unit: label of the y axis.
    """
    points = _points([g for g in groups if g.row in STYLES], axis)
    xs = sorted({x for values in points.values() for x in values})
    methods = [m for m in method_order() if any(method == m for method, _ in points)]
    if len(xs) < 2 or not methods:
        return None
    figure, panels = _panels(len(methods))
    for axes, method in zip(panels, methods, strict=False):
        for row, (_, colour, line, marker) in STYLES.items():
            values = points.get((method, row), {})
            _line(axes, values, color=colour, linestyle=line, marker=marker or None)
        _frame(axes, method if method != ZERO_SHOT_METHOD else "CLIP, zero-shot", axis, unit, xs)
    shown = [row for row in STYLES if any(r == row for _, r in points)]
    handles = [_proxy(STYLES[row]) for row in shown]
    names = {row: style[0] for row, style in STYLES.items()} | (
        UNTRAINED if methods == [ZERO_SHOT_METHOD] else {}
    )
    _legend(figure, handles, [names[row] for row in shown], columns=2)
    return _finished(figure, name, caption)


def gain_picture(name: str, caption: str, groups: Sequence[Group]) -> Picture | None:
    """Draw LOREAL minus the host at phi against phi, one line a method; None where there is a
    single phi.
    """
    hosts = {g.setting: g for g in groups if g.row == "phi"}
    found: dict[str, dict[int, list[dict[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for group in (g for g in groups if g.row == "loreal" and g.setting in hosts):
        host = dict(zip(hosts[group.setting].seeds, hosts[group.setting].summaries(), strict=True))
        ours = zip(group.seeds, group.summaries(), strict=True)
        of_seed = {seed: value - host[seed] for seed, value in ours if seed in host}
        found[group.setting.method][group.setting.phi].append(of_seed)
    known = method_order()
    ordered = [*(m for m in known if m in found), *(m for m in found if m not in known)]
    gains = {m: {x: _mean_of_datasets(parts) for x, parts in found[m].items()} for m in ordered}
    gains = {
        method: {x: values for x, values in of_x.items() if values}
        for method, of_x in gains.items()
    }
    xs = sorted({x for values in gains.values() for x in values})
    if len(xs) < 2:
        return None
    figure, (axes,) = _panels(1)
    for method, values in gains.items():
        _line(axes, values, color=colour_of(method), marker="D", label=method)
    axes.axhline(0, color="0.5", linewidth=0.8)
    _frame(axes, "", "phi", "LOREAL minus the host at phi (points)", xs)
    axes.legend(fontsize=8)
    return _finished(figure, name, caption)


def _mean_of_datasets(parts: Sequence[dict[int, float]]) -> list[float]:
    """Return, for each seed that every dataset has, the mean over datasets."""
    common = sorted(set.intersection(*map(set, parts)))
    return [statistics.fmean(part[seed] for part in parts) for seed in common]


def cost_picture(name: str, caption: str, groups: Sequence[Group]) -> Picture | None:
    """Draw accuracy against milliseconds a test picture: rows of runs left, rivals right; None
    without two points.

    The panels are apart because rivals are timed without building and reading. Numbers are sizes of
    the test picture.
    """
    dots: dict[str, list[Dot]] = {"tests of runs": [], "rivals": []}
    for group in groups:
        cost = group.test_milliseconds()
        if cost:
            kind = "tests of runs" if group.row in MARKERS else "rivals"
            dots[kind].append(
                Dot(group, statistics.fmean(cost), statistics.fmean(group.summaries()))
            )
    shown = {title: part for title, part in dots.items() if part}
    if sum(map(len, shown.values())) < 2:
        return None
    kinds = {dot.kind: "" for part in shown.values() for dot in part}
    free = iter(RIVAL_MARKERS * len(kinds))
    markers = {kind: MARKERS.get(kind) or next(free) for kind in kinds}
    figure, panels = _panels(len(shown))
    for axes, (title, part) in zip(panels, shown.items(), strict=True):
        _dots(axes, part, markers)
        _frame(axes, title, "milliseconds per test picture", "accuracy (%)", None)
    methods = [
        m for m in method_order() if any(dot.method == m for part in shown.values() for dot in part)
    ]
    handles = [_proxy(("", colour_of(m), "", "s")) for m in methods]
    handles += [_proxy(("", "0.3", "", marker)) for marker in markers.values()]
    names = [*methods, *(STYLES[k][0] if k in STYLES else k for k in markers)]
    _legend(figure, handles, names, columns=3)
    return _finished(figure, name, caption)


@dataclass(frozen=True)
class Dot:
    """A group's place in the cost picture."""

    group: Group
    cost: float
    accuracy: float

    @property
    def method(self) -> str:
        """Return the method."""
        return self.group.setting.method

    @property
    def kind(self) -> str:
        """Return the row, of a rival or control what it changes."""
        change = self.group.results[0].content.change
        return self.group.row if self.group.row in MARKERS else change or "as it is"


def _dots(axes: Any, part: Sequence[Dot], markers: dict[str, str]) -> None:
    """Draw the points, each size's number once beside the best point of that size."""
    best: dict[int | None, Dot] = {}
    for dot in part:
        colour = colour_of(dot.method)
        axes.plot(dot.cost, dot.accuracy, markers[dot.kind], color=colour, markersize=6, alpha=0.8)
        size = dot.group.results[0].content.test_size
        best[size] = max(best.get(size, dot), dot, key=lambda d: d.accuracy)
    for size, dot in best.items():
        axes.annotate(
            str(size),
            (dot.cost, dot.accuracy),
            textcoords="offset points",
            xytext=(4, 4),
            fontsize=7,
        )
    axes.margins(0.08, 0.12)  # room for the numbers beside the outermost points
    axes.set_xlim(left=0)


def _points(groups: Sequence[Group], axis: str) -> dict[tuple[str, str], dict[int, list[float]]]:
    """Return values over seeds by (method, row) and x; several datasets are averaged where all have
    the point.
    """
    gathered: dict[tuple[str, str], dict[int, list[Group]]] = defaultdict(lambda: defaultdict(list))
    for group in groups:
        gathered[group.setting.method, group.row][getattr(group.setting, axis)].append(group)
    datasets = {group.setting.dataset for group in groups}
    return {
        name: {
            x: average(gs, Group.summaries) for x, gs in of_x.items() if len(gs) == len(datasets)
        }
        for name, of_x in gathered.items()
    }


def _line(axes: Any, values: dict[int, list[float]], **style: Any) -> None:
    if not values:
        return
    xs = sorted(values)
    means = [statistics.fmean(values[x]) for x in xs]
    spread = [statistics.stdev(values[x]) if len(values[x]) > 1 else 0.0 for x in xs]
    axes.errorbar(xs, means, yerr=spread, capsize=2, linewidth=1.3, markersize=4, **style)


def _panels(n: int) -> tuple[Any, list[Any]]:
    """Return a figure without a window, and its n axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(n, 2)
    rows = -(-n // columns)
    width = 5.6 if n == 1 else 4.4 * columns
    figure = Figure(figsize=(width, 3.1 * rows + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(n)]
    return figure, axes


def _frame(axes: Any, title: str, x: str, y: str, ticks: Sequence[int] | None) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel({"phi": "phi (pixels)", "shots": "pictures per class"}.get(x, x), fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    if x == "shots":
        axes.set_xscale("log", base=2)
    if ticks is not None:
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=8)


def _proxy(style: tuple[str, str, str, str]) -> Any:
    from matplotlib.lines import Line2D

    _, colour, line, marker = style
    style_of_line: dict[str, Any] = {
        "color": colour,
        "linestyle": line or "none",
        "marker": marker or None,
    }
    return Line2D([], [], markersize=5, **style_of_line)


def _legend(figure: Any, handles: Sequence[Any], names: Sequence[str], columns: int) -> None:
    """Put a legend below the panels, with fewer columns where so many do not fit."""
    for ncols in range(columns, 0, -1):
        legend = figure.legend(handles, names, loc="outside lower center", ncols=ncols, fontsize=8)
        figure.canvas.draw()
        if ncols == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def _finished(figure: Any, name: str, caption: str) -> Picture:
    drawn = io.BytesIO()
    # no date and no version inside: the same numbers give the same file
    figure.savefig(drawn, dpi=110, format="png", metadata={"Software": None})
    return Picture(name, caption, drawn.getvalue())
