"""A part that a checkout calls otherwise: the contract says so, and nothing of ours trips."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_hosts import METHODS, tiny_student
from torch import nn

from loreal_plugin.errors import HostError
from loreal_plugin.paths import bundle_root

PACKAGE = bundle_root() / "loreal_plugin"


def owners(student: Any) -> dict[str, Any]:
    """Return the objects of a host's model whose attributes a row may use, by their path."""
    model, learner = student.model, student.contract.learner
    paths = ["", learner, "image_encoder", "text_encoder", "text_encoder.transformer.resblocks.0"]
    return {path: model.get_submodule(path) for path in paths}


def names_of(owner: nn.Module) -> list[str]:
    kept = [*owner._modules, *owner._parameters, *owner._buffers]
    return sorted(
        {*kept, *(name for name in vars(owner) if not name.startswith("_"))} - {"training"}
    )


def calls(student: Any) -> dict[str, Callable[[], Any]]:
    """Return every question that the rooms ask of a row."""
    row, model, cfg = student.contract, student.model, student.cfg
    images = torch.randn(1, 3, student.input_size, student.input_size)
    tokens = student.tokenize(["a cat."])
    rows = torch.zeros(1, 77, student.token_weight.shape[1])
    features = torch.randn(1, row.n_features, 64)
    return {
        "prompts": student.prompts,
        "encode_text": lambda: student.encode_text(rows, tokens),
        "text_blocks": student.text_blocks,
        "encode_image": lambda: student.encode_image(images),
        "logits": lambda: student.logits(features, torch.randn(2, 64), True),
        "condition": lambda: student.condition(features),
        "embed_contents": lambda: student.embed_contents(rows[:, :1]),
        "prompt_shift": lambda: row.prompt_shift(model, features),
        "fusion_weight": lambda: row.fusion_weight(model),
        "learned": lambda: row.learned(model),
        "use_fusion": lambda: row.use_fusion(cfg),
        "reset": lambda: row.reset(model),
    }


def trips_in_ours(call: Callable[[], Any]) -> bool:
    """Say whether a call ends in an AttributeError that our own code raised."""
    try:
        call()
    except AttributeError as error:
        last = traceback.extract_tb(error.__traceback__)
        # torch's modules raise it in __getattr__, called from the line that asked
        asked = [f for f in last if not f.filename.endswith("torch/nn/modules/module.py")]
        return Path(asked[-1].filename).is_relative_to(PACKAGE)
    except Exception:
        return False
    return False


@pytest.mark.parametrize("method", METHODS)
def test_every_attribute_that_a_row_uses_is_a_part_that_is_looked_for(embedded, clip_file, method):
    student = tiny_student(embedded(method), clip_file)
    trainer = SimpleNamespace(
        model=student.model, cfg=student.cfg, _models={student.contract.checkpoint: student.model}
    )
    student.contract.check(trainer, "here")
    questions, missed = calls(student), []
    for path, owner in owners(student).items():
        for name in names_of(owner):
            value = getattr(owner, name)
            delattr(owner, name)
            try:
                student.contract.check(trainer, "here")
                missed += [(path, name, q) for q, call in questions.items() if trips_in_ours(call)]
            except HostError as error:
                assert name in str(error)
            finally:
                setattr(owner, name, value)
    assert not missed
