"""The report's pictures as PNG: accuracy and gain against phi, accuracy against shots.

Each is narrow and has its legend below, so that it can be read on a telephone.
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
    "native": ("host at the native size", "0.35", ":", ""),
    "native_at_phi": ("the same, read at phi", "tab:orange", "--", "o"),
    "phi": ("host at phi", "tab:blue", "-", "s"),
    "loreal": ("+ LOREAL", "tab:red", "-", "D"),
    "adapted": ("+ adapted image side", "tab:green", "-", "^"),
}
# Where no model was trained.
UNTRAINED = {"native": "at the native size", "phi": "at phi"}
ZERO_SHOT_COLOUR, UNKNOWN_COLOUR = "0.4", "black"
WIDTH, HEIGHT, DPI = 4.4, 3.1, 160  # inches; 700 pixels, which a page shows at 400 or 540
LEGEND_COLUMNS, LEGEND_LINE, LABEL_ROOM = 2, 0.17, 0.38  # inches; room for the label of x


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


def accuracy_pictures(
    name: str, caption: str, groups: Sequence[Group], *, axis: str, unit: str
) -> list[Picture]:
    """Draw accuracy against `phi` or `shots`, a picture a method; none where there is a single
    point.

    Args:
        axis: the field of the setting that runs along x.
        unit: label of the y axis.
    """
    points = _points([g for g in groups if g.row in STYLES], axis)
    xs = sorted({x for values in points.values() for x in values})
    methods = [m for m in method_order() if any(method == m for method, _ in points)]
    found = []
    for method in methods if len(xs) > 1 else ():
        figure, axes = panel()
        names = {row: style[0] for row, style in STYLES.items()}
        names |= UNTRAINED if method == ZERO_SHOT_METHOD else {}
        handles = []
        for row, (_, colour, line, marker) in STYLES.items():
            values = points.get((method, row), {})
            _line(axes, values, color=colour, linestyle=line, marker=marker or None)
            handles += [(proxy(colour, line, marker), names[row])] if values else []
        title = method if method != ZERO_SHOT_METHOD else "CLIP, zero-shot"
        frame(axes, title, axis, unit, xs)
        legend_below(axes, handles)
        own, shown = (
            (name, caption) if len(methods) == 1 else (f"{name}_{method}", f"{caption}, {title}")
        )
        found.append(finished(figure, own, shown))
    return found


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
    figure, axes = panel()
    for method, values in gains.items():
        _line(axes, values, color=colour_of(method), marker="D")
    axes.axhline(0, color="0.5", linewidth=0.8)
    frame(axes, "", "phi", "LOREAL minus the host at phi (points)", xs)
    legend_below(axes, [(proxy(colour_of(m), "-", "D"), m) for m in gains])
    return finished(figure, name, caption)


def _mean_of_datasets(parts: Sequence[dict[int, float]]) -> list[float]:
    """Return, for each seed that every dataset has, the mean over datasets."""
    common = sorted(set.intersection(*map(set, parts)))
    return [statistics.fmean(part[seed] for part in parts) for seed in common]


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


def panel() -> tuple[Any, Any]:
    """Return a figure without a window, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def frame(axes: Any, title: str, x: str, y: str, ticks: Sequence[int] | None) -> None:
    """Give axes their title, labels and ticks (None: as they come)."""
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


def proxy(colour: str, line: str, marker: str) -> Any:
    """Return what a legend shows of a line."""
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {"linestyle": line or "none", "marker": marker or None}
    return Line2D([], [], color=colour, markersize=5, **style)


def legend_below(axes: Any, entries: Sequence[tuple[Any, str]]) -> None:
    """Put a legend below the axes, and make the figure as much higher as the legend is."""
    from matplotlib.transforms import ScaledTranslation

    if not entries:
        return
    figure, lines = axes.figure, -(-len(entries) // LEGEND_COLUMNS)
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * lines)
    handles, names = zip(*entries, strict=True)
    axes.legend(
        handles,
        names,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        bbox_transform=axes.transAxes + ScaledTranslation(0, -LABEL_ROOM, figure.dpi_scale_trans),
        ncols=LEGEND_COLUMNS,
        fontsize=7.5,
        frameon=False,
    )


def finished(figure: Any, name: str, caption: str) -> Picture:
    """Return a figure as a picture."""
    drawn = io.BytesIO()
    # no date and no version inside: the same numbers give the same file
    figure.savefig(drawn, dpi=DPI, format="png", metadata={"Software": None})
    return Picture(name, caption, drawn.getvalue())
