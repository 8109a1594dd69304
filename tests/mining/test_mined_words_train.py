"""A mined file, from the endpoint to two epochs of stage 3 with its words in the slots."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from helpers import TINY_CLASSES

from loreal_plugin.cli.main import main
from loreal_plugin.data.demo import demo_root
from loreal_plugin.demo import world
from loreal_plugin.demo.pictures import ensure_pictures

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def toy_model(httpserver: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the module with the toy language model, and the model itself."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "mining"))
    module = importlib.import_module("toy_model")
    monkeypatch.setenv("OPENAI_API_KEY", module.KEY)
    return module, module.ToyModel(httpserver)


def test_mined_words_train_two_epochs(family, tmp_path, toy_model):
    module, model = toy_model
    names, out = tmp_path / "things.txt", tmp_path / "things.json"
    names.write_text("\n".join(TINY_CLASSES[:6]))
    words = [
        "attributes",
        "mine",
        "--classnames",
        names,
        "--domain",
        "thing",
        "--base-url",
        model.url,
        "--out",
        out,
    ]
    assert main([str(w) for w in words]) == 0
    assert main(["attributes", "check", str(out)]) == 0
    trainer = family.train("coop", tmp_path / "run", "TRAINER.LOREAL.ATTRIBUTES", out)
    assert trainer.stage3.words == module.WORDS and trainer.max_epoch == 2
    assert (
        f"Attributes (things.json): {', '.join(module.WORDS)}" in trainer.said
        and "* accuracy: " in trainer.said
    )


def test_words_mined_for_the_demo_train_two_epochs_on_the_demo(
    embedded, tmp_path, toy_model, monkeypatch
):
    module, model = toy_model
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path / "cache"))
    # one shot is drawn and nothing is tested here: two pictures a class are enough
    for split in ("train", "val", "test"):
        few = dataclasses.replace(world.get_pool(split), per_class=2)
        monkeypatch.setitem(world.POOLS, split, few)
    # drawn in this process: others would not know of the patch, and draw the whole world
    ensure_pictures(demo_root(str(tmp_path / "data")), workers=1)
    words = ["color", "place", "ground", "light", "border"]
    model.script[4] = lambda _: module.completion(module.propose(words))
    out = tmp_path / "demo.json"
    question = ["--dataset", "demo", "--base-url", model.url, "--batch", 10, "--yes", "--out", out]
    assert main(["attributes", "mine", *(str(w) for w in question)]) == 0
    assert json.loads(out.read_text())["attributes"] == words

    recipes, folders = (
        ROOT / "configs" / "trainers" / "CoOp_LOREAL",
        [tmp_path / name for name in ("alpha", "beta")],
    )

    def train(recipe: str, trainer: str, folder: Path, epochs: int, *opts: Any) -> Any:
        argv = [
            "--root",
            tmp_path / "data",
            "--seed",
            1,
            "--trainer",
            trainer,
            "--output-dir",
            folder,
        ]
        argv += ["--dataset-config-file", ROOT / "configs" / "datasets" / "demo.yaml"]
        argv += ["--config-file", recipes / recipe]
        argv += [
            "DATASET.NUM_SHOTS",
            1,
            "DATASET.SUBSAMPLE_CLASSES",
            "base",
            "OPTIM.MAX_EPOCH",
            epochs,
        ]
        argv += ["TEST.NO_TEST", True, *opts]
        host = embedded("coop")
        built = host.build_trainer(host.setup_cfg([str(w) for w in argv]))
        built.train()
        return built

    for folder, size in zip(folders, (224, 96), strict=True):
        train("host_demo.yaml", "CoOp", folder, 1, "INPUT.SIZE", f"({size}, {size})")
    node = "TRAINER.LOREAL."
    places = [
        node + "ALPHA_DIR",
        folders[0],
        node + "BETA_DIR",
        folders[1],
        node + "ATTRIBUTES",
        out,
        *(node + "CACHE_VIEWS", 1, node + "INFERENCE", "exact"),  # each has tests of its own
    ]
    trained = train("demo.yaml", "CoOp_LOREAL", tmp_path / "loreal", 2, node + "PHI", 96, *places)
    assert trained.stage3.words == words and trained.epoch == 1
    assert (tmp_path / "loreal" / "loreal" / "model-2.safetensors").is_file()
