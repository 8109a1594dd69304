"""Optimisers by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from dassl._plugin import ConfigError
from dassl.utils import check_availability

# name -> class and the further arguments that are read from the configuration
_OPTIMS: dict[str, tuple[type[torch.optim.Optimizer], Any]] = {
    "adam": (torch.optim.Adam, lambda c: {"betas": _betas(c)}),
    "amsgrad": (torch.optim.Adam, lambda c: {"betas": _betas(c), "amsgrad": True}),
    "adamw": (torch.optim.AdamW, lambda c: {"betas": _betas(c)}),
    "radam": (torch.optim.RAdam, lambda c: {"betas": _betas(c)}),
    "rmsprop": (torch.optim.RMSprop, lambda c: {"momentum": c.MOMENTUM, "alpha": c.RMSPROP_ALPHA}),
    "sgd": (
        torch.optim.SGD,
        lambda c: {"momentum": c.MOMENTUM, "dampening": c.SGD_DAMPNING, "nesterov": c.SGD_NESTEROV},
    ),
}


def _betas(optim_cfg: CfgNode) -> tuple[float, float]:
    return optim_cfg.ADAM_BETA1, optim_cfg.ADAM_BETA2


def build_optimizer(
    model: nn.Module | Iterable[Any], optim_cfg: CfgNode, param_groups: Iterable[Any] | None = None
) -> torch.optim.Optimizer:
    """Return the optimiser that `optim_cfg.NAME` names.

    It gets `param_groups` where given, else the parameters of `model` (a module, or parameters or
    groups themselves); parameters without gradient are passed on too, as in Dassl, and skipped in
    its steps.

    Raises:
        ConfigError: for an unknown name, or STAGED_LR with something that is no module.
    """
    check_availability(optim_cfg.NAME, list(_OPTIMS), kind="optimizer")
    if param_groups is not None and optim_cfg.STAGED_LR:
        warnings.warn("OPTIM.STAGED_LR is ignored: parameter groups were given", stacklevel=2)
    if param_groups is None:
        param_groups = _groups_of(model, optim_cfg)
    kind, further = _OPTIMS[optim_cfg.NAME]
    return kind(
        param_groups, lr=optim_cfg.LR, weight_decay=optim_cfg.WEIGHT_DECAY, **further(optim_cfg)
    )


def _groups_of(model: nn.Module | Iterable[Any], optim_cfg: CfgNode) -> Iterable[Any]:
    """Return the parameters of a model, split in two groups with STAGED_LR."""
    if not optim_cfg.STAGED_LR:
        return model.parameters() if isinstance(model, nn.Module) else model
    if not isinstance(model, nn.Module):
        raise ConfigError(f"OPTIM.STAGED_LR needs a module with layers, not {type(model).__name__}")
    model = model.module if isinstance(model, nn.DataParallel) else model
    named = optim_cfg.NEW_LAYERS
    new_layers = {named} if isinstance(named, str) else set(named)
    old: list[nn.Parameter] = []
    new: list[nn.Parameter] = []
    for name, child in model.named_children():
        (new if name in new_layers else old).extend(child.parameters())
    return [{"params": old, "lr": optim_cfg.LR * optim_cfg.BASE_LR_MULT}, {"params": new}]
