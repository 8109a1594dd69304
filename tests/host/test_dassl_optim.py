"""Optimisers and learning-rate schedules of the embedded host's dassl."""

from __future__ import annotations

import copy
import io
import math
from typing import Any

import pytest
import torch
from dataset_helpers import use_embedded_host
from torch import nn

use_embedded_host()

from dassl.config import get_cfg_default  # noqa: E402  (needs the host on the path)
from dassl.optim import build_lr_scheduler, build_optimizer  # noqa: E402

from loreal_plugin.errors import ConfigError  # noqa: E402


def _optim_cfg(**settings: Any) -> Any:
    cfg = get_cfg_default().OPTIM
    cfg.merge_from_list([part for pair in {"NAME": "sgd", **settings}.items() for part in pair])
    return cfg


def _built(cfg: Any) -> tuple[torch.optim.Optimizer, Any]:
    optimizer = build_optimizer(nn.Linear(2, 2), cfg)
    return optimizer, build_lr_scheduler(optimizer, cfg)


def _rates(optimizer: torch.optim.Optimizer, scheduler: Any, epochs: int) -> list[float]:
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def _cosine(base: float, epoch: int, epochs: int) -> float:
    return base * (1 + math.cos(math.pi * epoch / epochs)) / 2


CONSTANT = {"LR": 0.0035, "LR_SCHEDULER": "cosine", "WARMUP_EPOCH": 1, "WARMUP_TYPE": "constant"}


def test_cosine_with_constant_warmup_follows_the_closed_form() -> None:
    rates = _rates(*_built(_optim_cfg(**CONSTANT, MAX_EPOCH=5)), 5)
    assert rates == pytest.approx([1e-5] + [_cosine(0.0035, e, 5) for e in range(4)], rel=1e-12)
    assert rates == pytest.approx([1e-05, 0.0035, 0.0031658, 0.0022908, 0.0012092], abs=5e-8)


def test_cosine_without_warmup_starts_at_the_base_rate() -> None:
    rates = _rates(*_built(_optim_cfg(LR=0.1, LR_SCHEDULER="cosine", MAX_EPOCH=4)), 4)
    assert rates == pytest.approx([_cosine(0.1, e, 4) for e in range(4)], rel=1e-12)


def test_linear_warmup_rises_from_the_minimum() -> None:
    cfg = _optim_cfg(LR=0.4, LR_SCHEDULER="cosine", WARMUP_EPOCH=4, WARMUP_MIN_LR=0.01, MAX_EPOCH=8)
    rates = _rates(*_built(cfg), 8)
    assert rates == pytest.approx(
        [0.01, 0.1, 0.2, 0.3] + [_cosine(0.4, e, 8) for e in range(4)], rel=1e-12
    )


def test_without_recount_the_warmup_counts_as_epochs_of_the_main_schedule() -> None:
    cfg = _optim_cfg(
        LR=0.2, LR_SCHEDULER="multi_step", STEPSIZE=(1, 3), WARMUP_EPOCH=2, WARMUP_RECOUNT=False
    )
    assert _rates(*_built(cfg), 5) == pytest.approx([1e-5, 0.1, 0.2, 0.02, 0.02], rel=1e-9)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"LR_SCHEDULER": "single_step", "STEPSIZE": (2,)}, [1, 1, 0.1, 0.1, 0.01]),
        ({"LR_SCHEDULER": "single_step", "STEPSIZE": (-1,), "MAX_EPOCH": 4}, [1, 1, 1, 1, 0.1]),
        (
            {"LR_SCHEDULER": "multi_step", "STEPSIZE": (1, 3), "GAMMA": 0.5},
            [1, 0.5, 0.5, 0.25, 0.25],
        ),
    ],
)
def test_step_schedules(settings: dict[str, Any], wanted: list[float]) -> None:
    assert _rates(*_built(_optim_cfg(LR=1.0, **settings)), 5) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize("kind", ["cosine", "multi_step"])
def test_resumed_schedule_repeats_the_uninterrupted_one_on_the_live_optimiser(
    kind: str, stop: int
) -> None:
    cfg = _optim_cfg(**{**CONSTANT, "LR_SCHEDULER": kind}, MAX_EPOCH=6, STEPSIZE=(2, 3))
    whole = _rates(*_built(cfg), 6)
    optimizer, scheduler = _built(cfg)
    _rates(optimizer, scheduler, stop)
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    optimizer, scheduler = _built(cfg)
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    assert scheduler.successor.optimizer is optimizer
    assert _rates(optimizer, scheduler, 6 - stop) == whole[stop:]


def test_unknown_schedule_and_wrong_stepsize_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown schedule 'cosin'; did you mean 'cosine'"):
        _built(_optim_cfg(LR_SCHEDULER="cosin"))
    with pytest.raises(ConfigError, match="unknown warm-up 'steep'"):
        _built(_optim_cfg(WARMUP_EPOCH=1, WARMUP_TYPE="steep"))
    with pytest.raises(ConfigError, match="list of epochs"):
        cfg = _optim_cfg(LR_SCHEDULER="multi_step")
        cfg.STEPSIZE = 3
        _built(cfg)


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "weight_decay": 5e-4, "nesterov": False}),
        ("adam", torch.optim.Adam, {"betas": (0.9, 0.999), "amsgrad": False}),
        ("amsgrad", torch.optim.Adam, {"amsgrad": True}),
        ("adamw", torch.optim.AdamW, {"betas": (0.9, 0.999), "weight_decay": 5e-4}),
        ("radam", torch.optim.RAdam, {"betas": (0.9, 0.999)}),
        ("rmsprop", torch.optim.RMSprop, {"alpha": 0.99, "momentum": 0.9}),
    ],
)
def test_optimisers_take_their_settings(name: str, kind: type, options: dict[str, Any]) -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), _optim_cfg(NAME=name, LR=0.02))
    assert type(optimizer) is kind
    assert {key: optimizer.defaults[key] for key in options} == options and optimizer.defaults[
        "lr"
    ] == 0.02


def test_optimiser_takes_modules_parameters_and_groups() -> None:
    layer = nn.Linear(2, 2)
    for given in (layer, list(layer.parameters()), [{"params": layer.parameters(), "lr": 0.5}]):
        groups = build_optimizer(given, _optim_cfg()).param_groups
        assert [id(p) for p in groups[0]["params"]] == [id(p) for p in layer.parameters()]
    groups = build_optimizer(
        layer, _optim_cfg(), param_groups=[{"params": [layer.bias]}]
    ).param_groups
    assert len(groups) == 1 and groups[0]["params"][0] is layer.bias


def test_staged_rate_slows_the_layers_that_are_not_new() -> None:
    model = nn.Sequential()
    model.add_module("old", nn.Linear(2, 3))
    model.add_module("new", nn.Linear(3, 2))
    optimizer = build_optimizer(model, _optim_cfg(LR=0.1, STAGED_LR=True, NEW_LAYERS=("new",)))
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.1])
    assert optimizer.param_groups[1]["params"][0] is model.new.weight
    with pytest.raises(ConfigError, match="needs a module"):
        build_optimizer(list(model.parameters()), _optim_cfg(STAGED_LR=True))


def test_state_dict_is_a_snapshot_of_numbers() -> None:
    optimizer, scheduler = _built(_optim_cfg(**CONSTANT))
    state = copy.deepcopy(scheduler.state_dict())
    _rates(optimizer, scheduler, 3)
    assert state["last_epoch"] == 0 and state["successor"]["last_epoch"] == 0
    assert "optimizer" not in state and "optimizer" not in state["successor"]
