"""The map of embeddings as one PNG: a panel an encoder at phi, lines between both places."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from loreal_plugin.explain.page import png_bytes
from loreal_plugin.files import write_bytes

DPI = 100
MAX_LINES = 150  # pictures; beyond, lines hide the points
MAX_LEGEND = 20  # classes with a name beside their colour
AXES = {"pca": "first two principal components", "tsne": "t-SNE"}


def save_map(
    path: Path,
    title: str,
    places: tuple[Tensor, dict[str, Tensor]],
    labels: Tensor,
    classnames: Sequence[str],
    numbers: dict[str, dict[str, float]],
    sizes: tuple[int, int],
    kind: str,
) -> None:
    """Draw the map into a PNG, whole or not at all.

    Args:
        path: where it goes.
        title: which run and pictures these are.
        places: from `in_the_plane`.
        labels: (N,).
        classnames: by label.
        numbers: by name of the panel, from `drift_numbers`.
        sizes: native size and phi in pixels.
        kind: `pca` or `tsne`.

    Raises:
        LorealError: it cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = sorted(set(labels.tolist()))
    palette = plt.get_cmap("tab20" if len(shown) <= MAX_LEGEND else "hsv")
    colours = dict(zip(shown, palette(_steps(len(shown))), strict=True))
    count = len(places[1])
    with plt.rc_context({"font.size": 9}):
        figure, panels = plt.subplots(
            1, count, figsize=(6 * count + 1.5, 6.6), sharex=True, sharey=True, squeeze=False
        )
        try:
            right = 1 - 1.7 / figure.get_figwidth()
            figure.subplots_adjust(left=0.03, right=right, top=0.79, bottom=0.05, wspace=0.04)
            _draw_panels(panels[0], places, [colours[i] for i in labels.tolist()], numbers, sizes)
            figure.text(0.03, 0.945, title, fontsize=13, weight="bold")
            axes_are = f"{AXES[kind]} of all embeddings together"
            figure.text(0.03, 0.015, axes_are, fontsize=9, color="#444444")
            _draw_legend(figure, panels[0][-1], {classnames[i]: colours[i] for i in shown}, sizes)
            content = png_bytes(figure, DPI)
        finally:
            plt.close(figure)
    write_bytes(path, content)


def _draw_panels(
    panels: Sequence[Any],
    places: tuple[Tensor, dict[str, Tensor]],
    colours: list[Any],
    numbers: dict[str, dict[str, float]],
    sizes: tuple[int, int],
) -> None:
    """Draw a panel for each encoder at phi, with its numbers above."""
    native, low = places
    for axes, (name, at) in zip(panels, low.items(), strict=True):
        _draw_panel(axes, native.numpy(), at.numpy(), colours)
        axes.set_title(f"at {sizes[1]}: {name}", fontsize=11, weight="bold", pad=46, loc="left")
        line = {"transform": axes.transAxes, "fontsize": 9, "va": "bottom"}
        axes.text(0, 1.015, _sentence(numbers[name]), **line)


def _steps(count: int) -> list[float]:
    """Return `count` numbers in [0, 1) that pick colours; of tab20 one each."""
    return [(i + 0.5) / max(count, MAX_LEGEND) for i in range(count)]


def _sentence(n: dict[str, float]) -> str:
    """Return what changed, in three lines."""
    cosine = f"{n['cosine_mean']:.3f} ± {n['cosine_std']:.3f}"
    own, of_class, common = (
        f"{100 * n[key]:.0f} %" for key in ("finds_itself", "finds_class", "common_share")
    )
    return (
        f"cosine of a picture's two embeddings {cosine}\n"
        f"length of the mean drift {n['drift_norm']:.3f}, {common} of the squared change\n"
        f"nearest native embedding is its own {own}, of its class {of_class}"
    )


def _draw_panel(axes: Any, native: Any, low: Any, colours: list[Any]) -> None:
    """Draw both places of every picture."""
    if len(native) <= MAX_LINES:
        for start, end, colour in zip(native, low, colours, strict=True):
            axes.plot(
                (start[0], end[0]),
                (start[1], end[1]),
                color=colour,
                linewidth=0.7,
                alpha=0.55,
                zorder=1,
            )
    axes.scatter(
        *native.T, s=26, c=colours, marker="o", edgecolors="white", linewidths=0.4, zorder=2
    )
    axes.scatter(
        *low.T, s=26, facecolors="white", edgecolors=colours, marker="^", linewidths=1.2, zorder=3
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#aaaaaa")


def _draw_legend(figure: Any, beside: Any, colours: dict[str, Any], sizes: tuple[int, int]) -> None:
    """Say what marks and colours mean, to the right of the last panel."""
    from matplotlib.lines import Line2D

    def mark(text: str, shape: str, colour: Any, fill: Any) -> Line2D:
        return Line2D(
            [],
            [],
            linestyle="",
            marker=shape,
            color=colour,
            markerfacecolor=fill,
            markersize=6,
            label=text,
        )

    marks = [
        mark(f"at {sizes[0]}", "o", "#444444", "#444444"),
        mark(f"at {sizes[1]}", "^", "#444444", "white"),
    ]
    if len(colours) <= MAX_LEGEND:
        marks += [
            mark(name if len(name) <= 18 else f"{name[:17]}…", "s", c, c)
            for name, c in colours.items()
        ]
    else:
        marks.append(Line2D([], [], linestyle="", label=f"colour: {len(colours)} classes"))
    beside.legend(
        handles=marks,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        handletextpad=0.3,
    )
