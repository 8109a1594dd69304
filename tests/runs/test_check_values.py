"""Values that a run refuses before it trains, and a training that diverges."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from loreal_plugin.errors import ConfigError
from loreal_plugin.runs.check_values import check_learned, check_phi, divergence_told


def test_phi_has_to_be_below_the_native_size() -> None:
    check_phi(208, 224, "demo")
    for phi in (224, 384, 1_000_000):
        with pytest.raises(ConfigError, match=f"PHI {phi} is not below 224"):
            check_phi(phi, 224, "demo")


def test_a_training_that_diverges_is_told_in_one_line() -> None:
    cfg = SimpleNamespace(
        TRAINER=SimpleNamespace(NAME="CoOp"),
        INPUT=SimpleNamespace(SIZE=(96, 96)),
        OPTIM=SimpleNamespace(LR=50.0),
    )
    with pytest.raises(ConfigError, match="CoOp at 96 diverged.*-- OPTIM.LR 5$"):
        with divergence_told(cfg):
            raise FloatingPointError("Loss is infinite or NaN!")


def test_what_was_learned_has_to_be_finite():
    model = torch.nn.Linear(2, 2)
    trainer = SimpleNamespace(
        _models={"m": model}, cfg=SimpleNamespace(OPTIM=SimpleNamespace(LR=3.0))
    )
    check_learned(trainer, "beta")
    with torch.no_grad():
        model.bias[1] = float("inf")
    with pytest.raises(ConfigError, match=r"stage 'beta' diverged: .*'bias' .*OPTIM\.LR 3"):
        check_learned(trainer, "beta")
