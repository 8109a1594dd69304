"""A mined file, from the endpoint to two epochs of stage 3 with its words in the slots."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from helpers import TINY_CLASSES

from loreal_plugin.cli.main import main

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
    words = ["attributes", "mine", "--classnames", names, "--domain", "thing", "--base-url", model.url, "--out", out]
    assert main([str(w) for w in words]) == 0
    assert main(["attributes", "check", str(out)]) == 0
    trainer = family.train("coop", tmp_path / "run", "TRAINER.LOREAL.ATTRIBUTES", out)
    assert trainer.words == module.WORDS and trainer.max_epoch == 2
    assert f"Attributes (things.json): {', '.join(module.WORDS)}" in trainer.said and "* accuracy: " in trainer.said
