"""Runs that are killed, repeated and mixed up: real trainings of the tiny host."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import random_clip_file, tiny_image_folder
from python_at_once import python_at_once
from world import ROOT, World, assert_same_checkpoints

FAST = ("--", "OPTIM.MAX_EPOCH", "1")
LONG = (*FAST, "loreal:OPTIM.MAX_EPOCH", "40")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with pictures of four classes and two weights files."""
    root = tmp_path_factory.mktemp("kill")
    tiny_image_folder(root / "data" / "pics", classes=4, per_class=6)
    random_clip_file(root)
    random_clip_file(root, "other.pt", seed=1)
    return root


def environment(home: Path) -> dict[str, str]:
    return {
        "DATA": str(home / "data"),
        "SHOTS": "2",
        "RECIPE": "demo",
        "OMP_NUM_THREADS": "1",
        "CLIP_WEIGHTS": str(home / "tiny_clip.pt"),
        "LOREAL_CACHE": str(home / "cache"),
    }


@pytest.fixture
def call(home: Path, command_line: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a function that runs the command line here and returns exit code, stdout, stderr."""
    for name in ("HOST", "OUT"):
        monkeypatch.delenv(name, raising=False)
    return command_line(environment(home))


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until something is there; fail if the process ends before."""
    limit = time.monotonic() + 240
    while not what():
        assert process.poll() is None, f"ended before it could be killed: {process.communicate()}"
        assert time.monotonic() < limit, "never came so far"
        time.sleep(0.002)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_stage_3_goes_on_to_the_same_end(home: Path, call: Any, tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    assert (
        call("base2new", "coop", "32", "pics", "--out", str(killed), "--until", "beta", *FAST)[0]
        == 0
    )
    shutil.copytree(killed, whole)
    command = [
        python_at_once(),
        "-m",
        "loreal_plugin",
        "base2new",
        "coop",
        "32",
        "pics",
        "--out",
        str(killed),
        *LONG,
    ]
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(lambda: len(list(killed.rglob("loreal/*.safetensors"))) >= 3, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not list(killed.rglob("CoOp_LOREAL/phi32/*/seed1/results.json")), (
        "it was killed in the middle"
    )
    code, out, err = call("base2new", "coop", "32", "pics", "--out", str(killed), *LONG)
    assert code == 0 and "an interrupted run of the same key" in out, err
    code, out, err = call("base2new", "coop", "32", "pics", "--out", str(whole), *LONG)
    assert code == 0 and "an interrupted run" not in out, err
    assert_same_checkpoints(killed, whole, learners=3)


def test_loreal_train_leaves_nothing_for_a_setting_that_cannot_be_used(
    home: Path, call: Any, tmp_path: Path
) -> None:
    words = [
        "train",
        "--trainer",
        "CoOp_LOREAL",
        "--root",
        str(home / "data"),
        "--seed",
        "1",
        "--dataset-config-file",
        str(ROOT / "configs/datasets/folder.yaml"),
        "--config-file",
        str(ROOT / "configs/trainers/CoOp_LOREAL/demo.yaml"),
        "--output-dir",
        str(tmp_path / "out"),
        "DATASET.FOLDER",
        "pics",
        "INPUT.SIZE",
        "(64, 64)",
    ]
    for opts, text in (
        (("TRAINER.LOREAL.PHI", "33"), "33"),
        (("TRAINER.LOREAL.PHI", "32"), "ALPHA_DIR and BETA_DIR must name"),
        (("TRAINER.LOREAL.PHI", "32", "MODEL.BACKBONE.NAME", str(tmp_path / "none.pt")), "none.pt"),
    ):
        code, _, err = call(*words, *opts)
        assert code == 2 and text in err.strip().splitlines()[-1], err
        assert not (tmp_path / "out").exists(), f"{opts} left something"
    assert os.environ["CLIP_WEIGHTS"] == str(home / "tiny_clip.pt"), "put back"


@pytest.mark.parametrize(
    "opts, text",
    [
        (("TRAINER.LOREAL.N_ATTRIBUTES", "3"), "n_attributes"),
        (("TRAINER.LOREAL.HIDDEN_DIM", "16"), "hidden_dim"),
        (("TRAINER.LOREAL.ATTR_SHUFFLE_SEED", "5"), "attributes"),
        (("MODEL.BACKBONE.NAME", "other.pt"), "backbone"),
        (("--method", "coop"), "method"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_one_line(
    home: Path, miniature: World, call: Any, tmp_path: Path, opts: tuple[str, str], text: str
) -> None:
    stage = {
        name: next(miniature.out.glob(f"base2new/train_base/pics/shots_2/{place}/seed1"))
        for name, place in (
            ("alpha", "MaPLe/demo-*"),
            ("beta", "MaPLe/phi32/*"),
            ("loreal", "MaPLe_LOREAL/phi32/*"),
        )
    }
    trainer, extra = (
        "MaPLe_LOREAL",
        [str(home / word) if word.endswith(".pt") else word for word in opts],
    )
    if opts[0] == "--method":
        trainer, extra = "CoOp_LOREAL", []
        code, _, err = call(
            "base2new",
            "coop",
            "32",
            "pics",
            "--out",
            str(tmp_path / "coop"),
            "--until",
            "beta",
            *FAST,
        )
        assert code == 0, err
        for name, place in (("alpha", "CoOp/demo-*"), ("beta", "CoOp/phi32/*")):
            stage[name] = next(
                (tmp_path / "coop").glob(f"base2new/train_base/pics/shots_2/{place}/seed1")
            )
    code, _, err = call(
        "train",
        "--trainer",
        trainer,
        "--eval-only",
        "--model-dir",
        str(stage["loreal"]),
        "--seed",
        "1",
        "--root",
        miniature.env["DATA"],
        "--dataset-config-file",
        str(ROOT / "configs/datasets/folder.yaml"),
        "--config-file",
        str(ROOT / f"configs/trainers/{trainer}/demo.yaml"),
        "--load-epoch",
        "2",
        "--output-dir",
        str(tmp_path / "out"),
        "DATASET.FOLDER",
        "pics",
        "DATASET.NUM_SHOTS",
        "2",
        "INPUT.SIZE",
        "(64, 64)",
        "DATASET.SUBSAMPLE_CLASSES",
        "base",
        "TRAINER.LOREAL.PHI",
        "32",
        "TRAINER.LOREAL.ALPHA_DIR",
        str(stage["alpha"]),
        "TRAINER.LOREAL.BETA_DIR",
        str(stage["beta"]),
        *extra,
    )
    lines = [
        line
        for line in err.strip().splitlines()
        if not line.startswith(" ") and "Warning" not in line
    ]
    assert code == 2 and len(lines) == 1 and lines[0].startswith("error: "), err
    assert text in lines[0].lower(), lines[0]
