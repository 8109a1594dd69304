"""What a `<X>_LOREAL` trainer takes from the host trainer that it extends."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.attach import AttachedHost, attach_host
from loreal_plugin.contract import HostContract, contract_of


def host_of(trainer: type) -> AttachedHost:
    """Return the host whose trainer is among a class's bases."""
    contract = contract_of(trainer)
    base = next(base for base in trainer.__mro__ if base.__name__ == contract.trainer)
    return attach_host(Path(inspect.getfile(base)).resolve().parents[1], contract.method)


def mixed_precision(
    cfg: Any, contract: HostContract, device: torch.device
) -> tuple[bool, torch.amp.GradScaler | None]:
    """Return whether steps run under autocast, and the scaler of their losses.

    Only CUDA has half-precision training worth scaling for; on the CPU the family's `amp` is
    float32 too.

    Args:
        cfg: its node of the host has PREC: `fp32`, `fp16` or `amp`.
    """
    precision = cfg.TRAINER[contract.cfg_node].PREC
    cuda = device.type == "cuda"
    scaled = cuda and precision in ("amp", "fp16")
    return cuda and precision == "amp", torch.amp.GradScaler("cuda") if scaled else None


def update(trainer: Any, loss: Tensor) -> None:
    """Take one step of a Dassl trainer's optimiser; its `scaler` scales the loss, if there is one.

    Raises:
        FloatingPointError: the loss is no finite number; nothing has changed.
    """
    if trainer.scaler is None:
        trainer.model_backward_and_update(loss)
        return
    trainer.detect_anomaly(loss)
    trainer.optim.zero_grad()
    trainer.scaler.scale(loss).backward()
    trainer.scaler.step(trainer.optim)
    trainer.scaler.update()
