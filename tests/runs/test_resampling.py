"""POSITION_RESAMPLING: one value for all stages, in keys and names where it says another thing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import tiny_image_folder

from loreal_plugin.attach.clip_source import using_weights
from loreal_plugin.errors import ConfigError
from loreal_plugin.runs import resampling
from loreal_plugin.runs.engine import Engine
from loreal_plugin.runs.logs import quietly
from loreal_plugin.runs.prepare import prepare
from loreal_plugin.runs.resampling import resampling_of
from loreal_plugin.runs.spec import RunSpec, build_spec
from loreal_plugin.weights.positions import resample_pos_embed

KEY = "TRAINER.LOREAL.POSITION_RESAMPLING"
PRESET = "TRAINER.LOREAL.PRESET"
SMOOTH = "bicubic_antialias"


def spec(*opts: str, **more: str) -> RunSpec:
    return build_spec("coop", more.pop("phi", "32"), more.pop("dataset", "pics"), opts=opts, **more)


@pytest.mark.parametrize(
    ("opts", "wanted"),
    [
        ((), "bicubic"),
        ((PRESET, "paper"), SMOOTH),
        ((PRESET, "authors"), SMOOTH),
        ((PRESET, "'paper'", KEY, "bicubic"), "bicubic"),
        ((f"loreal:{KEY}", SMOOTH), SMOOTH),
    ],
)
def test_a_run_has_the_value_of_stage_3(opts: tuple[str, ...], wanted: str) -> None:
    assert resampling_of(spec(*opts, dataset="demo")) == wanted


def test_a_recipe_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"TRAINER: {{LOREAL: {{POSITION_RESAMPLING: {SMOOTH}}}}}")
    row = SimpleNamespace(recipe_file=lambda *_, **__: recipe)
    monkeypatch.setattr(resampling, "get_contract", lambda _: row)
    assert resampling_of(spec(dataset="demo")) == SMOOTH
    assert resampling_of(spec(KEY, "bicubic", dataset="demo")) == "bicubic"


def test_a_wrong_value_is_named() -> None:
    with pytest.raises(ConfigError, match="POSITION_RESAMPLING: 'cubic' is none of bicubic"):
        resampling_of(spec(KEY, "cubic", dataset="demo"))


@pytest.fixture(scope="module")
def engines(embedded: Any, clip_file: Path, tmp_path_factory: Any) -> dict[str, Engine]:
    """Give a prepared run of the preset `default` and of one more value, by value."""
    embedded("coop")
    folder = tmp_path_factory.mktemp("resampling")
    tiny_image_folder(folder / "pics", classes=4, per_class=4)
    places = {"data": str(folder), "out": str(folder / "out"), "weights": str(clip_file)}
    places["recipe"] = "demo"

    def engine(*opts: str) -> Engine:
        return prepare(spec(*opts, shots="2", **places), say=lambda _: None)

    return {"bicubic": engine(), SMOOTH: engine(KEY, SMOOTH)}


def test_keys_of_what_reads_small_pictures_differ_and_no_other(engines) -> None:
    plain, smooth = (one.identity for one in engines.values())
    assert plain.stage_key("alpha") == smooth.stage_key("alpha")
    for stage in ("beta", "loreal"):
        assert plain.stage_key(stage) != smooth.stage_key(stage)
    for name, same in (("native", True), ("native_at_phi", False), ("phi", False)):
        keys = [evaluation_key(engine, name) for engine in engines.values()]
        assert (keys[0] == keys[1]) is same


def evaluation_key(engine: Engine, name: str) -> str:
    row = next(row for row in engine.plan.rows if row.name == name)
    stage = engine.plan.stages[row.stage]
    return engine.identity.evaluation_key(stage.name, engine.resolve(stage, row, "new"), "new")


def test_the_value_before_the_key_came_is_in_no_key(engines) -> None:
    identity = engines["bicubic"].identity
    for name, cfg in engines["bicubic"].cfgs.items():
        assert KEY not in identity.config(name, cfg)
        assert "TRAINER.LOREAL.MIX_STEPS" not in identity.config(name, cfg)


def test_folders_of_both_stand_side_by_side(engines) -> None:
    plain, smooth = (one.plan for one in engines.values())
    assert plain.stages["alpha"].folder == smooth.stages["alpha"].folder
    assert plain.stages["beta"].folder != smooth.stages["beta"].folder
    folders = [{row.name: row.folders["new"] for row in plan.rows} for plan in (plain, smooth)]
    assert folders[0]["native"] == folders[1]["native"]
    assert folders[0]["native_at_phi"] != folders[1]["native_at_phi"]


@pytest.mark.parametrize("value", ["bicubic", SMOOTH])
def test_host_and_students_have_the_positions(engines, clip_state, value: str) -> None:
    engine = engines[value]
    with using_weights(engine.plan.spec.weights):
        trainer = quietly(lambda: engine.host.build_trainer(engine.cfgs["beta"]))
    found = trainer.model.image_encoder.positional_embedding
    grid = engine.plan.spec.phi // trainer.model.image_encoder.conv1.weight.shape[-1]
    own = clip_state()["visual.positional_embedding"]
    torch.testing.assert_close(found.detach(), resample_pos_embed(own, grid, value))
