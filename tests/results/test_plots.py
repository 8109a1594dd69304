"""The report's pictures: nothing that is drawn is cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_runs import write_rivals, write_targets

from loreal_plugin.results import cost_plots, plots
from loreal_plugin.results.report import build_report


@pytest.mark.parametrize("rivals", [False, True])
def test_a_legend_lies_inside_and_hides_no_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rivals: bool
) -> None:
    finish, figures = plots.finished, {}

    def noted(figure: Any, name: str, caption: str) -> plots.Picture:
        figures[name] = figure
        return finish(figure, name, caption)

    monkeypatch.setattr(plots, "finished", noted)
    monkeypatch.setattr(cost_plots, "finished", noted)
    for phi in (96, 144):
        write_targets(tmp_path, "xd", phi=phi)
    if rivals:
        write_rivals(tmp_path)
    build_report(tmp_path)
    assert {"xd_1_cost_tests", "xd_1_phi"} <= set(figures)
    for name, figure in figures.items():
        (axes,) = figure.axes
        box, frame = axes.get_legend().get_window_extent(), axes.get_window_extent()
        assert box.x0 >= frame.x0 and box.x1 <= frame.x1, name
        texts = [text.get_text() for text in axes.get_legend().get_texts()]
        assert len(texts) == len(set(texts)) >= 1
        points = [axes.transData.transform(xy) for line in axes.lines for xy in line.get_xydata()]
        hidden = [xy for xy in points if xy[1] < box.y1 and not box.y1 < frame.y0]
        assert not hidden, f"{name}: the legend lies on a point"
