"""The embedded host's `train.py`: sections, command line, errors, and a run of a toy trainer."""

from __future__ import annotations

import importlib
import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from dassl_toys import toy_cfg
from dataset_helpers import EMBEDDED
from helpers import tiny_image_folder
from python_at_once import python_at_once

from loreal_plugin.errors import ConfigError

# sections and defaults of the public repositories' train.py
SECTIONS = {
    "COOP": {
        "N_CTX": 16,
        "CSC": False,
        "CTX_INIT": "",
        "PREC": "fp16",
        "CLASS_TOKEN_POSITION": "end",
    },
    "MAPLE": {"N_CTX": 2, "CTX_INIT": "a photo of a", "PREC": "fp16", "PROMPT_DEPTH": 9},
    "MMADAPTER": (
        {"TEXT_CTX_INIT": "", "PREC": "amp", "ADAPTER_START": 4, "ADAPTER_END": 12}
        | {"ADAPTER_DIM": 32, "ADAPTER_SCALE": 0.1}
    ),
    "MMRL": (
        {"ALPHA": 0.7, "REG_WEIGHT": 1.0, "REP_LAYERS": [], "REP_DIM": 512, "N_REP_TOKENS": 5}
        | {"PREC": "fp16"}
    ),
}


@pytest.fixture(scope="module")
def train() -> ModuleType:
    """Give the host's train.py as a module."""
    return importlib.import_module("train")


def _cfg(train: ModuleType, *words: str) -> Any:
    return train.setup_cfg(train.build_parser().parse_args(list(words)))


def test_sections_of_the_four_trainers_have_the_public_defaults(train: ModuleType) -> None:
    cfg = _cfg(train)
    assert {name: dict(cfg.TRAINER[name]) for name in SECTIONS} == SECTIONS
    assert cfg.DATASET.SUBSAMPLE_CLASSES == "all" and cfg.TASK == "B2N" and cfg.is_frozen()


def test_the_four_trainers_and_the_data_sets_are_registered(train: ModuleType) -> None:
    from dassl.data.datasets import DATASET_REGISTRY
    from dassl.engine import TRAINER_REGISTRY

    assert {"CoOp", "MaPLe", "MultiModalAdapter", "MMRL"} <= set(
        TRAINER_REGISTRY.registered_names()
    )
    assert {"Caltech101", "ImageNet", "OxfordPets"} <= set(DATASET_REGISTRY.registered_names())


def test_later_sources_win(train: ModuleType, tmp_path: Path) -> None:
    data, method = tmp_path / "data.yaml", tmp_path / "method.yaml"
    data.write_text("DATASET:\n  NAME: Caltech101\nOPTIM:\n  LR: 0.1\n  MAX_EPOCH: 7\n")
    method.write_text("OPTIM:\n  LR: 0.2\nTRAINER:\n  MMRL:\n    REP_LAYERS: [6, 7]\n")
    words = (
        f"--dataset-config-file {data} --config-file {method} --root R --output-dir O --resume S"
        " --seed 0 "
    )
    words += (
        "--trainer MMRL --backbone demo --transforms normalize random_flip --eval-only"
        " --load-epoch 3 "
    )
    cfg = _cfg(train, *words.split(), "OPTIM.MAX_EPOCH", "9", "TASK", "FS")
    assert (cfg.DATASET.NAME, cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH) == ("Caltech101", 0.2, 9)
    assert (cfg.DATASET.ROOT, cfg.OUTPUT_DIR, cfg.RESUME, cfg.SEED) == ("R", "O", "S", 0)
    assert (cfg.TRAINER.NAME, cfg.MODEL.BACKBONE.NAME, cfg.TASK) == ("MMRL", "demo", "FS")
    assert list(cfg.INPUT.TRANSFORMS) == [
        "normalize",
        "random_flip",
    ] and cfg.TRAINER.MMRL.REP_LAYERS == [
        6,
        7,
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--config-file", "absent.yaml"), "configuration file 'absent.yaml': .*No such file"),
        (("OPTIM.LRR", "1"), "KEY VALUE pairs of the command line: .*OPTIM.LRR"),
        (("OPTIM.LR", "fast"), "OPTIM.LR"),
        (("OPTIM.LR",), "KEY VALUE pairs of the command line: "),
    ],
)
def test_bad_settings_name_their_source(
    train: ModuleType, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        _cfg(train, *words)


def test_malformed_file_is_named(train: ModuleType, tmp_path: Path) -> None:
    for text in ("OPTIM: [", "just words", "OPTIM:\n  LRR: 1\n"):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(ConfigError, match=r"configuration file '.*bad\.yaml': \S"):
            _cfg(train, "--config-file", str(tmp_path / "bad.yaml"))


def _run(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run train.py as a user does, with the toy trainer registered beside its own."""
    code = "import sys, runpy, dassl_toys; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    root, tests = Path(__file__).resolve().parents[2], Path(__file__).resolve().parents[1]
    path = os.pathsep.join(map(str, (EMBEDDED, root, tests, tests / "host")))
    settings = (
        "INPUT.SIZE (16,16) DATALOADER.NUM_WORKERS 0 DATALOADER.TRAIN_X.BATCH_SIZE 4"
        " OPTIM.MAX_EPOCH 1"
    )
    common = ["--root", str(tmp_path / "data"), "--trainer", "ToyTrainer", "--seed", "1"]
    command = [
        python_at_once(),
        "-c",
        code,
        str(EMBEDDED / "train.py"),
        *common,
        *words,
        *settings.split(),
    ]
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )


def test_command_trains_and_errors_are_one_line(tmp_path: Path) -> None:
    tiny_image_folder(tmp_path / "data", classes=3, per_class=6, size=20)
    out = tmp_path / "out"
    done = _run(tmp_path, "--output-dir", str(out), "DATASET.NAME", "ToyPictures")
    assert done.returncode == 0, done.stderr
    log = (out / "log.txt").read_text()
    for line in (
        "** Arguments **",
        "** Config **",
        "trainer: ToyTrainer",
        "** System info **",
        "Finish training",
    ):
        assert line in log and line in done.stdout
    bad = _run(tmp_path, "--output-dir", str(tmp_path / "bad"), "DATASET.NAME", "ToyPicture")
    assert bad.returncode == 1 and len(bad.stderr.strip().splitlines()) == 1
    assert bad.stderr.startswith("error: unknown dataset 'ToyPicture'; did you mean 'ToyPictures'?")


def _main(train: ModuleType, monkeypatch: pytest.MonkeyPatch, cfg: Any, *words: str) -> None:
    """Call train.main with that configuration, without a log file."""
    monkeypatch.setattr(train, "setup_cfg", lambda args: cfg)
    monkeypatch.setattr(train, "setup_logger", lambda folder: None)
    train.main(train.build_parser().parse_args(list(words)))


def test_eval_only_loads_and_tests(
    train: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cfg = toy_cfg(tmp_path / "data", tmp_path / "out", OPTIM__MAX_EPOCH=1)
    _main(train, monkeypatch, cfg)
    trained = capsys.readouterr().out
    _main(
        train,
        monkeypatch,
        cfg,
        "--eval-only",
        "--model-dir",
        str(tmp_path / "out"),
        "--load-epoch",
        "1",
    )
    evaluated = capsys.readouterr().out
    assert trained[trained.index("=> result") : trained.index("Elapsed")] in evaluated
    assert "epoch [" in trained and "epoch [" not in evaluated


def test_seeded_runs_do_not_let_cudnn_search(
    train: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = toy_cfg(tmp_path / "data", tmp_path / "out", OPTIM__MAX_EPOCH=1)
    for seed, search in ((1, False), (-1, True)):
        cfg.SEED = seed
        _main(train, monkeypatch, cfg, "--no-train")
        assert torch.backends.cudnn.benchmark is search
    assert not (tmp_path / "out" / "toy").exists()
