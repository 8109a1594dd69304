"""The plots of results/BENCHMARKS.md, as small SVG files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from loreal_plugin.bench.cells import GROWTH_CLASSES, TEST_CLASSES, TRAIN_BATCH
from loreal_plugin.bench.lookup import Results, title_of
from loreal_plugin.files import write_bytes


def draw_plots(results: Results, folder: Path) -> list[Path]:
    """Draw what the records have points for; return the files."""
    from matplotlib.figure import Figure

    label = "-".join(str(part) for part in results.setting)
    made = []
    for name, draw in (("growth", _growth), ("phi", _phi), ("versus", _versus)):
        figure = Figure(figsize=(6, 3.4), layout="constrained")
        if draw(results, figure.subplots()):
            made.append(_save(figure, folder / f"{name}-{label}.svg"))
    return made


def _growth(results: Results, axes: Any) -> bool:
    """Draw ms a sample over C; False where there are fewer than two points of everything."""
    method, phi = results.methods[0], min(results.phis)
    lines = [
        ("train", TRAIN_BATCH, "cached:class_first", "training step"),
        ("infer", 1, "exact:class_first", "prediction, exact"),
        ("infer", 1, "host", "prediction, host alone"),
    ]
    drawn = 0
    for kind, batch, variant, label in lines:
        points = [
            (c, results.milliseconds(results.find(kind, method, phi, c, batch), variant))
            for c in GROWTH_CLASSES
        ]
        points = [(c, ms["median"]) for c, ms in points if ms]
        if len(points) > 1:
            axes.plot(*zip(*points, strict=True), marker="o", label=label)
            drawn += 1
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="classes C",
        ylabel="ms a sample",
        title=f"{title_of(method)} + LOREAL, phi {phi}",
    )
    _finish(axes, drawn)
    return drawn > 0


def _phi(results: Results, axes: Any) -> bool:
    """Draw the image encoder's time over phi, as a share of the native size's."""
    drawn = 0
    for cell, record in results.records.items():
        if cell.kind == "image" and len(cell.variants) > 1:
            sizes = sorted(int(v[3:]) for v in cell.variants)
            shares = [results.ratio(record, f"phi{s}", f"phi{sizes[-1]}")["median"] for s in sizes]
            axes.plot(
                sizes,
                shares,
                marker="o",
                label=f"{title_of(cell.method)}, B={cell.batch}",
            )
            drawn += 1
    axes.set(
        xlabel="phi in pixels",
        ylabel="time / time at native size",
        ylim=(0, None),
        title="image encoder",
    )
    _finish(axes, drawn)
    return drawn > 0


def _versus(results: Results, axes: Any) -> bool:
    """Draw how many times faster than the published formulation each variant is."""
    bars = []
    for cell, record in results.records.items():
        if cell.kind.startswith("versus"):
            what = "step" if cell.trains else f"predict C={TEST_CLASSES}"
            words = ", short words" if cell.words else ""
            for variant in cell.variants[1:]:
                shown = variant.replace(":", " ").replace("_", " ")
                label = f"{title_of(cell.method)} {what}, {shown}{words}"
                bars.append((label, results.ratio(record, "published", variant)))
    for position, (_, found) in enumerate(bars):
        low, high = found["median"] - found["q1"], found["q3"] - found["median"]
        axes.barh(position, found["median"], xerr=[[low], [high]], color="tab:blue")
    axes.set_yticks(range(len(bars)), [label for label, _ in bars], fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel="times faster than the published formulation")
    return bool(bars)


def _finish(axes: Any, drawn: int) -> None:
    axes.grid(alpha=0.3)
    if drawn:
        axes.legend(fontsize=8)


def _save(figure: Any, path: Path) -> Path:
    """Write a figure as SVG with text as text, the same bytes for the same numbers."""
    import matplotlib

    content = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "loreal"}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    write_bytes(path, content.getvalue())
    return path
