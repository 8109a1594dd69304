"""Demo recipes act: on the shipped backbone, stage 1 gives every learned tensor a gradient."""

from __future__ import annotations

import importlib
import io
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from tiny_hosts import METHODS

from loreal_plugin.contract import CONTRACTS
from loreal_plugin.demo import world
from loreal_plugin.demo.pictures import encode_jpeg

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder `few` of the demonstration world: four classes, six pictures each."""
    root = tmp_path_factory.mktemp("demo")
    for label in range(4):
        folder = root / "few" / world.NAMES[label]
        folder.mkdir(parents=True)
        for index in range(6):
            (folder / f"{index}.jpg").write_bytes(encode_jpeg("train", label, index))
    return root


@pytest.mark.parametrize("method", METHODS)
def test_every_learned_tensor_gets_a_gradient(
    embedded, demo_pictures, tmp_path, monkeypatch, method
):
    monkeypatch.setenv("CLIP_WEIGHTS", "demo")
    contract, host = CONTRACTS[method], embedded(method)
    recipe = ROOT / "configs" / "trainers" / contract.loreal_trainer / "host_demo.yaml"
    words = [
        "--root",
        demo_pictures,
        "--seed",
        1,
        "--output-dir",
        tmp_path,
        "--trainer",
        contract.trainer,
    ]
    words += [
        "--dataset-config-file",
        ROOT / "configs" / "datasets" / "folder.yaml",
        "--config-file",
        recipe,
    ]
    words += ["DATASET.FOLDER", "few", "DATASET.NUM_SHOTS", 3, "DATASET.SUBSAMPLE_CLASSES", "all"]
    words += ["DATALOADER.TRAIN_X.BATCH_SIZE", 4, "OPTIM.MAX_EPOCH", 2, "TEST.NO_TEST", True]
    cfg = host.setup_cfg([str(word) for word in words])
    assert cfg.MODEL.BACKBONE.NAME == "demo"
    importlib.import_module("dassl.utils").set_random_seed(1)
    with redirect_stdout(io.StringIO()):
        trainer = host.build_trainer(cfg)
    learned = contract.learned(trainer.model)
    moved, steps, step = dict.fromkeys(learned, False), [], trainer.forward_backward

    def watched(batch: dict) -> dict:
        summary = step(batch)
        steps.append(summary)
        for name, value in learned.items():
            moved[name] |= value.grad is not None and bool(value.grad.abs().max() > 0)
        return summary

    trainer.forward_backward = watched
    with redirect_stdout(io.StringIO()):
        trainer.train()
    assert len(steps) == 6 and len(learned) > 0
    assert [name for name, seen in moved.items() if not seen] == []
