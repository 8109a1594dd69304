"""The table of one run as bars."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loreal_plugin.files import write_bytes
from loreal_plugin.results.run import Run, run_of


def save_plot(record: Mapping[str, Any], path: Path) -> None:
    """Draw base, new and HM of every row, or the accuracy on every target, as bars into a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    run = run_of(record)
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    bars = _bars(run)
    width = 0.8 / len(bars)
    for index, (name, heights) in enumerate(bars):
        places = [i + width * (index - (len(bars) - 1) / 2) for i in range(len(run.rows))]
        axes.bar(places, heights, 0.93 * width, label=name)
    labels = [row.label.replace(", ", ",\n") for row in run.rows]
    axes.set_xticks(range(len(run.rows)), labels, fontsize=7)
    axes.set_ylabel("accuracy (%)")
    title = f"{run['method']}, phi {run['phi']}, {run['dataset']}, seed {run['seed']}"
    axes.set_title(title, fontsize=9)
    axes.legend(fontsize=7)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150, format="png")
    plt.close(figure)
    write_bytes(path, picture.getvalue())


def _bars(run: Run) -> list[tuple[str, list[float]]]:
    """Return the name of each bar of a row, and its heights over the rows."""
    bars = [
        (title, [row.scores[name].accuracy for row in run.rows])
        for name, title in zip(run.test_sets, run.test_heads, strict=True)
    ]
    return bars if run.roles else [*bars, ("HM", [row.summary for row in run.rows])]
