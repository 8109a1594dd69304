"""The two students of a run: which one predict, export and calibrate take, and its modes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from adapted_world import FAST, AdaptedWorld, adapted_world

from loreal_plugin import load_run
from loreal_plugin.cli.main import main
from loreal_plugin.edge.layout import MANIFEST
from loreal_plugin.export import export_run
from loreal_plugin.files import write_json
from loreal_plugin.inference.deployed import Deployed

L = "TRAINER.LOREAL."
CALIBRATE = ["calibrate", "coop", "32", "pics", "1", "--pictures", "20", "--target", "90", "--out"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdaptedWorld]:
    """Give a world with one finished run of CoOp."""
    with adapted_world(tmp_path_factory.mktemp("rows"), "coop") as made:
        yield made


@pytest.fixture
def out(world: AdaptedWorld, tmp_path: Path) -> Path:
    """Give a copy of the output folder."""
    return Path(shutil.copytree(world.out, tmp_path / "out"))


@pytest.fixture
def picture(world: AdaptedWorld) -> str:
    """Give a picture."""
    return str(min(world.pictures.rglob("*.png")))


def test_modes_that_need_contents_are_static_without_and_say_so(
    world: AdaptedWorld, picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (run,) = world.runs("CoOp")
    images = torch.randn(3, 3, 32, 32)
    static = load_run(run, inference="static").logits(images)
    for mode in ("auto", "tangent"):
        found = load_run(run, inference=mode)
        assert found.inference == "static" and torch.equal(found.logits(images), static)
        assert main(["predict", str(run), picture, "--inference", mode, "--format", "csv"]) == 0
        said = capsys.readouterr()
        assert said.err.count(f"INFERENCE {mode} is static here: the slots of this student") == 1
        assert "static" not in said.out


def test_predict_and_export_take_the_row_that_is_named(
    world: AdaptedWorld,
    picture: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (run,) = world.runs("CoOp")
    exported = []

    def write_package(folder: Path, deployed: dict[str, Deployed], *_: Any) -> None:
        exported.append(bool(next(iter(deployed.values())).beta.adaptation))
        write_json(folder / MANIFEST, {})

    monkeypatch.setattr(export_run, "write_package", write_package)
    for row, mode in (("loreal", "tangent"), ("adapted", "static")):
        assert main(["predict", str(run), picture, "--row", row]) == 0
        title = capsys.readouterr().err.splitlines()[0]
        assert ("adapted image side" in title) == (row == "adapted")
        words = ["--out", str(tmp_path / row), "--check", "0", "--row", row, "--mode", "tangent"]
        assert main(["export", str(run), *words]) == 0
        said = capsys.readouterr().out
        assert f"at 32, {mode}, fp32" in said
        assert ("INFERENCE tangent is static here" in said) == (row == "adapted")
    assert exported == [False, True]
    assert main(["predict", str(tmp_path / "loreal"), picture, "--row", "loreal"]) == 2
    assert "is a package, which has one student; leave --row out" in capsys.readouterr().err


def test_calibrate_takes_the_student_that_predict_opens_or_the_row_that_is_named(
    world: AdaptedWorld, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for row, folder in (("loreal", "phi32"), ("adapted", "adapted_phi32"), ("", "adapted_phi32")):
        named = ["--row", row] if row else []
        assert main([*CALIBRATE, str(out), *named, "--", *FAST]) == 0
        said = capsys.readouterr().out
        stages = world.folders(f"CoOp_LOREAL/{folder}", out)
        assert any(f"written: {stage}" in said for stage in stages)
        assert ("which predict uses, too" in said) == (row == "")
        assert ("series: none" in said) == (row != "loreal")
        assert (f" {L}INFERENCE auto" in said) == (row == "loreal")
    assert main([*CALIBRATE, str(out), "--row", "adapted", "--", *FAST, f"{L}PRESET", "paper"]) == 2
    assert "the run has no student with an adapted image side" in capsys.readouterr().err


def test_calibrating_helps_where_an_adapted_student_has_contents(
    world: AdaptedWorld, out: Path, picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    slots = [f"adapted:{L}SLOT_PARTS", "both", f"adapted:{L}INFERENCE", "exact"]
    before = set(world.runs("CoOp", out))
    assert world.run("coop", *slots, out=out) == 0
    (run,) = set(world.runs("CoOp", out)) - before
    predict = ["predict", str(run), picture, "--inference", "auto"]
    assert main(predict) == 2
    assert "run loreal calibrate --row adapted" in capsys.readouterr().err
    assert main([*CALIBRATE, str(out), "--", *FAST, *slots]) == 0
    assert f" adapted:{L}INFERENCE auto" in capsys.readouterr().out
    assert main(predict) == 0
    assert "inference auto" in capsys.readouterr().err


def test_a_run_that_stops_earlier_leaves_predict_the_same_student(
    world: AdaptedWorld, out: Path
) -> None:
    (run,) = world.runs("CoOp", out)
    images = torch.randn(3, 3, 32, 32)
    before = load_run(run).logits(images)
    assert world.run("coop", out=out, until="loreal") == 0
    assert torch.equal(load_run(run).logits(images), before)
