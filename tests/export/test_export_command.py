"""`loreal export` on a trained run, as a user does it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import random_clip_file, tiny_image_folder
from PIL import Image

import loreal_plugin
from loreal_plugin.attach import detach_host
from loreal_plugin.cli.main import main
from loreal_plugin.edge import Package
from loreal_plugin.export.export_run import open_deployed
from loreal_plugin.export.pictures import pictures_of
from loreal_plugin.results.protocols import FEW_SHOT
from loreal_plugin.runs.run import run_protocol
from loreal_plugin.runs.spec import RunSpec, build_spec
from loreal_plugin.runs.trained_run import TrainedRun


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give the folder of a small finished run; its dataset is where DATA says."""
    root = tmp_path_factory.mktemp("run")
    tiny_image_folder(root / "data" / "pics", classes=4, per_class=8)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOST", "OUT", "SHOTS", "RECIPE", "CLIP_WEIGHTS"):
            patch.delenv(name, raising=False)
        patch.setenv("LOREAL_CACHE", str(root / "cache"))
        patch.setenv("DATA", str(root / "data"))
        detach_host()
        yield run_protocol(spec_in(root), say=lambda text: None).folder
        detach_host()


def spec_in(root: Path) -> RunSpec:
    """Return a small run that writes into a folder."""
    return build_spec(
        "coop",
        "32",
        "pics",
        "1",
        out=str(root / "out"),
        shots="2",
        recipe="demo",
        weights=str(random_clip_file(root)),
        opts=("OPTIM.MAX_EPOCH", "1", "TRAINER.LOREAL.META_INIT", "default"),
    )


def test_a_run_becomes_a_package_with_two_heads(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "my package"
    words = ["export", str(run_folder), "--out", str(out), "--check", "4", "--mode", "tangent"]
    assert main([*words, "--classes", "base", "new"]) == 0
    said = capsys.readouterr().out
    assert "100.0 % of 4 test pictures of pics get the run's class" in said, said
    manifest = json.loads((out / "loreal.json").read_text("utf-8"))
    assert manifest["accuracy"]["check"]["pictures"] == 4
    assert [row["label"] for row in manifest["accuracy"]["rows"]][-1] == "+ LOREAL, tested at 32"
    assert manifest["run"]["image_side"] == "the host's"
    assert "tiny_clip.pt" == manifest["run"]["weights"]["name"]
    files = sorted((run_folder.parents[8] / "data" / "pics").rglob("*.png"))[:3]
    for half in ("base", "new"):
        deployed = loreal_plugin.load_run(run_folder, classes=half, inference="tangent")
        package = Package.open(out, head=half)
        images = np.stack([deployed.pixels(path).numpy() for path in files])
        wanted = deployed.logits(torch.from_numpy(images)).numpy()
        pixels = np.stack([package.pixels(path) for path in files])
        assert np.abs(package.logits(pixels) - wanted).max() < 1e-4
    # the same command again replaces the package, but not with what somebody put into it
    (out / ".DS_Store").touch()
    (out / "heads" / "birds.onnx").write_bytes(b"made later")
    assert main([*words, "--classes", "base"]) == 2
    assert "would be lost (heads/birds.onnx);" in capsys.readouterr().err
    (out / "heads" / "birds.onnx").unlink()
    assert main([*words, "--classes", "base"]) == 0 and not (out / "heads" / "new.onnx").exists()
    assert f"try it: python -m loreal_plugin.edge '{out}'" in capsys.readouterr().out
    card = (out / "README.md").read_text("utf-8")
    assert "edge 'my package' --selftest" in card and 'Package.open("my package")' in card
    # a folder of other things is left alone
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thing").touch()
    assert main([*words[:2], "--out", str(tmp_path / "other")]) == 2
    assert "not empty and no package" in capsys.readouterr().err


def test_the_current_folder_may_be_the_package(
    run_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    (tmp_path / "mine").mkdir()
    for name in ("a.png", ".hidden.png", ".thumbs/b.png"):
        path = tmp_path / "pics" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (9, 99, 199)).save(path)
    monkeypatch.chdir(tmp_path / "mine")
    pictures = [str(tmp_path / "pics" / "a.png"), str(tmp_path / "pics")]
    words = ["export", str(run_folder), "--out", ".", "--mode", "static", "--pictures", *pictures]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "100.0 % of 1 pictures that were named" in said, "hidden ones are left out"
    assert f"written: {tmp_path / 'mine'} (" in said and "cd . to see it" in said
    assert Package.open(tmp_path / "mine").manifest["accuracy"]["check"]["pictures"] == 1
    monkeypatch.chdir(tmp_path / "mine")
    assert main([*words[:3], "..", *words[4:]]) == 2
    assert "not empty and no package" in capsys.readouterr().err


def test_what_cannot_be_exported_is_said_before_any_work(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
):
    words = ["export", str(run_folder), "--out", str(tmp_path / "p")]
    for more, said in (
        (["--precision", "int9"], "did you mean 'int8'"),
        (["--mode", "exact"], "unknown mode of a package 'exact'"),
        (["--classes", "bass"], "unknown test set of the run 'bass'; did you mean 'base'"),
        (["--min-agreement", "many"], "must be a percentage"),
        (["--min-agreement", "nan"], "must be a percentage"),
    ):
        assert main([*words, *more]) == 2
        assert said in capsys.readouterr().err
    monkeypatch.setenv("DATA", str(tmp_path))
    assert main(words) == 2
    assert "there are none (the run's dataset cannot be read here" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_a_run_on_all_classes_is_opened_with_its_own_pictures(run_folder: Path):
    root = run_folder.parents[8]
    done = run_protocol(spec_in(root), protocol=FEW_SHOT, say=lambda text: None)
    trained = TrainedRun.open(done.folder)
    found = pictures_of(trained)
    items = found.engine.identity.dataset("pics").train_x
    assert {Path(path).parent.name for path in found.training} == {i.classname for i in items}
    assert len(found.training) == 2 * 4 and not set(found.training) & set(found.held_out)
    # statistics that the run does not keep are made of these pictures, and of all classes
    shutil.rmtree(trained.folder / "loreal" / "inference", ignore_errors=True)
    deployed = open_deployed(trained, "pics", "static", found)
    assert deployed.inference == "static" and len(deployed.classnames) == 4
    images = torch.stack([deployed.pixels(path) for path in found.training[::2]])
    features = deployed.embed(images)
    assert deployed.modes.statistics().mean.shape == deployed.modes.activations(features)[0].shape
