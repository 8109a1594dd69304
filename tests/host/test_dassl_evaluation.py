"""The evaluator's numbers against scikit-learn, its lines against the family's parser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from dataset_helpers import use_embedded_host
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

use_embedded_host()

from dassl.config import get_cfg_default  # noqa: E402  (needs the host on the path)
from dassl.evaluation import build_evaluator  # noqa: E402

from loreal_plugin.errors import ConfigError, DataError  # noqa: E402

NAMES = {0: "cat", 1: "dog", 2: "emu", 3: "fox"}


def _cfg(**settings: Any) -> Any:
    cfg = get_cfg_default()
    for key, value in settings.items():
        cfg.TEST[key] = value
    return cfg


def _predictions() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(
        0, 3, (60,), generator=generator
    )  # class 3 never occurs, but is predicted
    return torch.randn(60, 4, generator=generator) + 0.8 * torch.eye(4)[labels], labels


def _evaluate(cfg: Any) -> dict[str, float]:
    evaluator = build_evaluator(cfg, lab2cname=NAMES)
    logits, labels = _predictions()
    evaluator.process(logits.flip(1), labels)
    evaluator.reset()
    for start in range(0, 60, 16):
        evaluator.process(logits[start : start + 16], labels[start : start + 16])
    return evaluator.evaluate()


def test_numbers_are_those_of_scikit_learn(tmp_path: Path) -> None:
    cfg = _cfg(PER_CLASS_RESULT=True, COMPUTE_CMAT=True)
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    results = _evaluate(cfg)
    logits, labels = _predictions()
    guesses = logits.argmax(1)
    assert list(results)[0] == "accuracy"
    assert results["accuracy"] == pytest.approx(100 * accuracy_score(labels, guesses))
    assert results["error_rate"] == pytest.approx(100 - results["accuracy"])
    macro = f1_score(labels, guesses, average="macro", labels=[0, 1, 2])
    assert results["macro_f1"] == pytest.approx(100 * macro)
    with pytest.warns(UserWarning, match="not in y_true"):
        balanced = balanced_accuracy_score(labels, guesses)
    assert results["perclass_accuracy"] == pytest.approx(100 * balanced)
    matrix = torch.load(tmp_path / "out" / "cmat.pt", weights_only=True)
    assert matrix.numpy() == pytest.approx(confusion_matrix(labels, guesses, normalize="true"))


def test_lines_are_those_of_the_family(capsys: pytest.CaptureFixture[str]) -> None:
    results = _evaluate(_cfg(PER_CLASS_RESULT=True))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["Loading evaluator: Classification", "=> result", "* total: 60"]
    assert lines[3].startswith("* correct: ")
    found = {}
    for key in ("accuracy", "error", "macro_f1", "average"):
        # the regular expression of the family's parse_test_res.py
        (found[key],) = (
            m.group(1) for line in lines if (m := re.search(rf"\* {key}: ([\.\deE+-]+)%", line))
        )
    assert float(found["accuracy"]) == pytest.approx(results["accuracy"], abs=0.0051)
    assert float(found["macro_f1"]) == pytest.approx(results["macro_f1"], abs=0.0051)
    assert any(
        re.match(r"\* class: 1 \(dog\)\ttotal: \d+\tcorrect: \d+\tacc: [\d.]+%$", line)
        for line in lines
    )


def test_large_totals_have_separators(capsys: pytest.CaptureFixture[str]) -> None:
    evaluator = build_evaluator(_cfg())
    evaluator.process(torch.eye(2)[torch.arange(1000) % 2], torch.zeros(1000, dtype=torch.long))
    assert evaluator.evaluate()["accuracy"] == 50.0
    out = capsys.readouterr().out
    assert "* total: 1,000\n* correct: 500\n* accuracy: 50.00%\n* error: 50.00%\n" in out


def test_nothing_to_evaluate_and_bad_settings_are_errors() -> None:
    with pytest.raises(DataError, match="no pictures"):
        build_evaluator(_cfg()).evaluate()
    with pytest.raises(ValueError, match="lab2cname"):
        build_evaluator(_cfg(PER_CLASS_RESULT=True))
    with pytest.raises(ConfigError, match="unknown evaluator 'Classificaton'; did you mean"):
        build_evaluator(_cfg(EVALUATOR="Classificaton"))
