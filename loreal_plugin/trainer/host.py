"""What a `<X>_LOREAL` trainer takes from the host trainer that it extends."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch

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
        cfg: the host's node in it has PREC: `fp32`, `fp16` or `amp`.
    """
    precision = cfg.TRAINER[contract.cfg_node].PREC
    cuda = device.type == "cuda"
    scaled = cuda and precision in ("amp", "fp16")
    return cuda and precision == "amp", torch.amp.GradScaler("cuda") if scaled else None
