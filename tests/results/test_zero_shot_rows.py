"""Zero-shot CLIP stands in the tables of runs that read their pictures as it did."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import write_run, write_zero_shot

from loreal_plugin.results.group import group_results
from loreal_plugin.results.layout import blocks_of
from loreal_plugin.results.reader import ZERO_SHOT_METHOD, collect
from loreal_plugin.results.record import RESULTS, read_record

POSITIONS = "TRAINER.LOREAL.POSITION_RESAMPLING"
PRESET = "TRAINER.LOREAL.PRESET"
SMOOTH = "bicubic_antialias"
Override = tuple[str, str, str]


def shown(out: Path) -> list[float]:
    """Return CLIP's accuracy on base classes at phi in the one block of base-to-new."""
    groups, _ = group_results(collect(out).results)
    (block,) = blocks_of(groups, "base2new")
    clip = [g for g in block.groups if g.setting.method == ZERO_SHOT_METHOD and g.row == "phi"]
    return [group.results[0].scores["base"].accuracy for group in clip]


def alone(out: Path, rate: float) -> list[float]:
    """Return what `shown` gives where nothing but a plain run and this result of CLIP is there."""
    write_run(out)
    write_zero_shot(out, rate=rate)
    return shown(out)


@pytest.mark.parametrize(
    ("overrides", "rate"),
    [
        ((), 0.6),
        ((("loreal", POSITIONS, "bicubic"),), 0.6),
        ((("host", "OPTIM.LR", "0.5"),), 0.6),
        ((("loreal", PRESET, "'default'"),), 0.6),
        ((("loreal", POSITIONS, SMOOTH),), 0.4),
        ((("loreal", PRESET, "paper"),), 0.4),
        ((("loreal", PRESET, "paper"), ("loreal", POSITIONS, "bicubic")), 0.6),
    ],
)
def test_clip_has_the_positions_of_the_runs_beside_it(
    tmp_path: Path, overrides: tuple[Override, ...], rate: float
) -> None:
    out = tmp_path / "out"
    write_run(out, overrides=list(map(list, overrides)))
    write_zero_shot(out, rate=0.6)
    write_zero_shot(out, label="demo-0", rate=0.4, overrides=[["loreal", POSITIONS, SMOOTH]])
    assert shown(out) == alone(tmp_path / "alone", rate)


def test_clip_with_other_positions_or_another_input_is_left_out(tmp_path: Path) -> None:
    write_run(tmp_path)
    write_zero_shot(tmp_path, overrides=[["loreal", POSITIONS, SMOOTH]])
    assert shown(tmp_path) == []
    write_zero_shot(tmp_path)
    assert len(shown(tmp_path)) == 1
    for key, value in (("INPUT.INTERPOLATION", "nearest"), ("MODEL.BACKBONE.NAME", "ViT-B/32")):
        write_run(tmp_path, overrides=[["all", key, value]])
        assert shown(tmp_path) == []


def test_clip_of_the_table_s_recipe_comes_first(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_run(out)
    write_zero_shot(out, label="other", rate=0.4, recipe="other")
    assert shown(out) == alone(tmp_path / "one", 0.4), "better than none"
    write_zero_shot(out, rate=0.6)
    assert shown(out) == alone(tmp_path / "two", 0.6)


def test_clip_is_judged_by_the_number_of_the_table_that_it_stands_in(tmp_path: Path) -> None:
    write_run(tmp_path)
    record = read_record(write_zero_shot(tmp_path) / RESULTS)[0]
    row = next(row for row in record["rows"] if row["name"] == "phi")
    assert row["hm"] != row["average"]
    groups, _ = group_results(collect(tmp_path).results)
    for protocol, number in (("zero_shot", row["average"]), ("base2new", row["hm"])):
        (block,) = blocks_of(groups, protocol)
        clip = [g for g in block.groups if g.setting.method == ZERO_SHOT_METHOD and g.row == "phi"]
        assert [g.summaries() for g in clip] == [[number]]
