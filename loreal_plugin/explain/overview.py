"""All explained pictures on one PNG, a row each: pictures, attention, and every answer."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loreal_plugin.explain.explanation import Explanation
from loreal_plugin.explain.page import PLAIN, RIGHT, WRONG, draw_picture, png_bytes, shortened
from loreal_plugin.files import write_bytes

DPI = 80
WIDTH, ROW, HEAD = 13.0, 1.1, 1.1  # inches
PER_SHEET = 20
COLOURS = 128  # of the palette
THUMBS = (0.012, 0.096, 0.180, 0.264)  # left edges, in parts of the width
ANSWERS = 0.355, 0.980  # where their columns begin and end
LETTERS = 20  # of a line in a head


def save_overview(explanations: Sequence[Explanation], title: str, path: Path) -> None:
    """Draw the first twenty explanations into one PNG, whole or not at all.

    Args:
        title: which run it is.
        path: where the PNG goes.

    Raises:
        LorealError: it cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = explanations[:PER_SHEET]
    height = HEAD + ROW * len(shown)
    with plt.rc_context({"font.size": 10}):
        figure = plt.figure(figsize=(WIDTH, height))
        try:
            _draw_head(figure, shown[0], title, height)
            for row, explanation in enumerate(shown):
                _draw_row(figure, explanation, 1 - (HEAD + ROW * (row + 1)) / height, ROW / height)
            content = png_bytes(figure, DPI, COLOURS)
        finally:
            plt.close(figure)
    write_bytes(path, content)


def _draw_head(figure: Any, first: Explanation, title: str, height: float) -> None:
    """Write the title and the heads of the columns."""
    native, phi = first.pictures
    figure.text(0.012, 1 - 0.3 / height, title, fontsize=14, weight="bold")
    heads = [
        (x, text)
        for x, text in zip(THUMBS, (f"at {native}", "looks", f"at {phi}", "looks"), strict=True)
    ]
    named = [head_of(p.name, p.size) for p in first.predictions]
    heads += list(zip(answers(len(named)), named, strict=True))
    for x, text in heads:
        figure.text(x, 1 - (HEAD - 0.08) / height, text, fontsize=9.5, weight="bold", va="bottom")


def answers(count: int) -> list[float]:
    """Return the left edges of the columns of answers, in parts of the width."""
    left, right = ANSWERS
    return [left + i * (right - left) / count for i in range(count)]


def head_of(name: str, size: int) -> str:
    """Return the lines above a column of answers; none is longer than a column of five is wide."""
    lines = [line for part in name.split(", ") for line in textwrap.wrap(part, LETTERS)]
    return "\n".join([*lines, f"at {size}"])


def _draw_row(figure: Any, e: Explanation, bottom: float, height: float) -> None:
    """Draw one picture's row; right answers are green, wrong ones red, grey without a class."""
    native, phi = e.pictures
    width = height * 0.92 * figure.get_figheight() / figure.get_figwidth()
    for x, (size, key) in zip(
        THUMBS, ((native, None), (native, "alpha"), (phi, None), (phi, "beta")), strict=True
    ):
        axes = figure.add_axes((x, bottom + 0.04 * height, width, 0.92 * height))
        axes.set_axis_off()
        draw_picture(axes, e, size, key)
    for x, prediction in zip(answers(len(e.predictions)), e.predictions, strict=True):
        best, p = prediction.classes[0], prediction.probabilities[0]
        colour = PLAIN if not e.label else RIGHT if best == e.label else WRONG
        figure.text(
            x,
            bottom + 0.56 * height,
            f"{shortened(best)} {100 * p:.0f} %",
            fontsize=11,
            color=colour,
        )
        if e.label and best != e.label:
            figure.text(
                x, bottom + 0.3 * height, _rank(e.label, prediction), fontsize=8.5, color="#444444"
            )


def _rank(label: str, prediction: Any) -> str:
    """Return where the true class stands among the best."""
    if label not in prediction.classes:
        return f"{shortened(label)} below top {len(prediction.classes)}"
    place = prediction.classes.index(label)
    return f"{shortened(label)} {100 * prediction.probabilities[place]:.0f} % (no. {place + 1})"
