"""The report's pictures: nothing that is drawn is cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_runs import write_rivals, write_targets

from loreal_plugin.results import plots
from loreal_plugin.results.report import build_report


@pytest.mark.parametrize("rivals", [False, True])
def test_a_legend_is_no_wider_than_its_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rivals: bool
) -> None:
    finish, figures = plots._finished, {}

    def noted(figure: Any, name: str, caption: str) -> plots.Picture:
        figures[name] = figure
        return finish(figure, name, caption)

    monkeypatch.setattr(plots, "_finished", noted)
    for phi in (96, 144):
        write_targets(tmp_path, "xd", phi=phi)
    if rivals:
        write_rivals(tmp_path)
    build_report(tmp_path)
    assert {"cost_1", "xd_1_phi"} <= set(figures)
    for name, figure in figures.items():
        for legend in figure.legends:
            box = legend.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= figure.bbox.width, name
            texts = [text.get_text() for text in legend.get_texts()]
            assert len(texts) == len(set(texts)) >= 2
