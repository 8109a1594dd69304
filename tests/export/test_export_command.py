"""`loreal export` on a trained run, as a user does it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import random_clip_file, tiny_image_folder

import loreal_plugin
from loreal_plugin.attach import detach_host
from loreal_plugin.cli.main import main
from loreal_plugin.edge import Package
from loreal_plugin.runs.run import run_protocol
from loreal_plugin.runs.spec import build_spec


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
        spec = build_spec(
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
        yield run_protocol(spec, say=lambda text: None).folder
        detach_host()


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
    assert "tiny_clip.pt" == manifest["run"]["weights"]["name"]
    files = sorted((run_folder.parents[8] / "data" / "pics").rglob("*.png"))[:3]
    for half in ("base", "new"):
        deployed = loreal_plugin.load_run(run_folder, classes=half, inference="tangent")
        package = Package.open(out, head=half)
        images = np.stack([deployed.pixels(path).numpy() for path in files])
        wanted = deployed.logits(torch.from_numpy(images)).numpy()
        pixels = np.stack([package.pixels(path) for path in files])
        assert np.abs(package.logits(pixels) - wanted).max() < 1e-4
    # the same command again replaces the package; a folder of other things is left alone
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thing").touch()
    assert main([*words[:2], "--out", str(tmp_path / "other")]) == 2
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
    ):
        assert main([*words, *more]) == 2
        assert said in capsys.readouterr().err
    monkeypatch.setenv("DATA", str(tmp_path))
    assert main(words) == 2
    assert "there are none (the run's dataset cannot be read here" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()
