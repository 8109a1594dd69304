"""Accuracy against the time of a picture: what one can choose from, and what no other beats."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from loreal_plugin.results.group import Group
from loreal_plugin.results.layout import method_order
from loreal_plugin.results.plots import (
    STYLES,
    Picture,
    colour_of,
    finished,
    frame,
    legend_below,
    panel,
    proxy,
)

MARKERS = {"native": "*", "native_at_phi": "v", "phi": "o", "loreal": "D", "adapted": "^"}
RIVAL_MARKERS = "PX<>hdp8"
ALONE = "milliseconds a picture"
UPSAMPLED = "up-sampled"
_Times = Callable[[Group], list[float]]


@dataclass(frozen=True)
class Dot:
    """A group's place: milliseconds a picture, and accuracy in percent."""

    group: Group
    cost: float
    accuracy: float

    @property
    def method(self) -> str:
        """Return the method."""
        return self.group.setting.method

    @property
    def kind(self) -> str:
        """Return the row's name, or what a rival or control changes; all enlargements are one."""
        change = self.group.results[0].content.change
        if self.group.row in MARKERS:
            return self.group.row
        return UPSAMPLED if change.startswith(UPSAMPLED) else change or "as it is"


def cost_pictures(name: str, caption: str, groups: Sequence[Group], unit: str) -> list[Picture]:
    """Draw accuracy against the time of one picture alone.

    Where no record has that time, the times of tests are drawn: of runs, whose models are built and
    pictures read within them, and of rivals, where they are not, in two pictures.
    """
    alone = dots_of(groups, Group.picture_times)
    if len(alone) > 1:
        return [cost_picture(name, caption, alone, ALONE, unit)]
    runs = dots_of((g for g in groups if g.row in MARKERS), Group.test_milliseconds)
    rivals = dots_of((g for g in groups if g.row not in MARKERS), Group.test_milliseconds)
    kinds = (("tests", "tests of runs", runs), ("rivals", "rivals", rivals))
    return [
        cost_picture(f"{name}_{short}", f"{caption}, {text}", dots, f"{ALONE}, {text}", unit)
        for short, text, dots in kinds
        if len(dots) > 1
    ]


def dots_of(groups: Iterable[Group], times: _Times) -> list[Dot]:
    """Return the places of groups whose time is known."""
    return [
        Dot(group, statistics.fmean(known), statistics.fmean(group.summaries()))
        for group in groups
        if (known := times(group))
    ]


def front_of(dots: Iterable[Dot]) -> list[Dot]:
    """Return the places that none beats in both time and accuracy, the fastest first."""
    kept: list[Dot] = []
    for dot in sorted(dots, key=lambda d: (d.cost, -d.accuracy)):
        if not kept or dot.accuracy > kept[-1].accuracy:
            kept.append(dot)
    return kept


def cost_picture(name: str, caption: str, dots: Sequence[Dot], x: str, unit: str) -> Picture:
    """Draw places, the line through those that none beats, and the enlargements as a line."""
    figure, axes = panel()
    kinds = dict.fromkeys(
        dot.kind for dot in sorted(dots, key=lambda d: d.group.row not in MARKERS)
    )
    free = iter(RIVAL_MARKERS * len(kinds))
    markers = {kind: MARKERS.get(kind) or next(free) for kind in kinds}
    front = front_of(dots)
    # as a staircase: with time between two places, the faster one is the best that fits
    axes.step(
        [d.cost for d in front], [d.accuracy for d in front], where="post", color="0.75", zorder=0
    )
    for dot in dots:
        axes.plot(
            dot.cost, dot.accuracy, markers[dot.kind], color=colour_of(dot.method), alpha=0.85
        )
    _enlargements(axes, dots)
    frame(axes, "", x, unit, None)
    axes.margins(0.08, 0.1)
    axes.set_xlim(left=0)
    methods = [m for m in method_order() if any(dot.method == m for dot in dots)]
    entries: list[tuple[Any, str]] = [(proxy(colour_of(m), "", "s"), m) for m in methods]
    entries += [
        (proxy("0.3", "", marker), STYLES[kind][0] if kind in STYLES else kind)
        for kind, marker in markers.items()
    ]
    entries.append((proxy("0.75", "-", ""), "no other beats these"))
    legend_below(axes, entries)
    return finished(figure, name, caption)


def _enlargements(axes: Any, dots: Sequence[Dot]) -> None:
    """Join the sizes to which a model's pictures are enlarged; the numbers stand at the first."""
    series: dict[tuple[str, str], list[Dot]] = defaultdict(list)
    for dot in sorted(dots, key=lambda d: d.cost):
        if dot.kind == UPSAMPLED:
            series[dot.method, dot.group.results[0].content.model].append(dot)
    for (method, _), mine in series.items():
        places = [(dot.cost, dot.accuracy) for dot in mine]
        axes.plot(*zip(*places, strict=True), color=colour_of(method), linewidth=0.8, alpha=0.6)
    for dot in next(iter(series.values()), []):
        size, place = dot.group.results[0].content.change.rpartition(" ")[2], (4, -8)
        words = {"textcoords": "offset points", "fontsize": 6.5, "color": "0.3"}
        if size.isdigit():
            axes.annotate(size, (dot.cost, dot.accuracy), xytext=place, **words)
