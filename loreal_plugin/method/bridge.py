"""The bridge: which student's embedding fills which prompt. Shapes: B images, D_v width."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from loreal_plugin.errors import ConfigError, unknown_name

BRIDGES = ("cross", "self", "mix", "alpha_to_beta", "beta_to_alpha")
MIX_ALPHAS = ("own", "cross")


def condition_inputs(
    f_alpha: Tensor,
    f_beta: Tensor,
    *,
    bridge: str,
    mix_weight: float = 0.0,
    mix_alpha: str = "own",
    unit: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return the embeddings that fill alpha's and beta's prompts, both (B, D_v).

    Args:
        f_alpha, f_beta: (B, D_v) L2-normalised visual embeddings of the two students.
        bridge: ``cross`` = each is filled by the other's; ``self`` = by its own; ``alpha_to_beta``
            = f_alpha fills both; ``beta_to_alpha`` = f_beta fills both; ``mix`` = beta is filled by
            normalize((1 - w) f_alpha + w f_beta).
        mix_weight: w of ``mix``, see :func:`mix_weight`.
        mix_alpha: with ``mix``, alpha is filled by its ``own`` embedding or by beta's (``cross``).
        unit: False: the embeddings are not of unit length (MMRL_CONDITION ``fusion_raw``), and the
            mix takes the weighted mean of their lengths.

    Raises:
        ConfigError: unknown bridge or mix_alpha.

    Source: LOREAL, bidirectional bridge; ``mix`` is the authors' code.
    """
    if bridge not in BRIDGES:
        raise ConfigError(unknown_name("BRIDGE", bridge, BRIDGES))
    if mix_alpha not in MIX_ALPHAS:
        raise ConfigError(unknown_name("MIX_ALPHA", mix_alpha, MIX_ALPHAS))
    if bridge == "mix":
        # a mean of two unit vectors is shorter than one, and meta-nets expect unit length
        for_beta = F.normalize((1 - mix_weight) * f_alpha + mix_weight * f_beta, dim=-1)
        if not unit:
            norm_alpha, norm_beta = (f.norm(dim=-1, keepdim=True) for f in (f_alpha, f_beta))
            for_beta = for_beta * torch.lerp(norm_alpha, norm_beta, mix_weight)
        return (f_alpha if mix_alpha == "own" else f_beta), for_beta
    # "cross" swaps; a one-way bridge fills both prompts from the one side it comes from
    for_alpha = f_beta if bridge in ("cross", "beta_to_alpha") else f_alpha
    return for_alpha, f_alpha if bridge in ("cross", "alpha_to_beta") else f_beta


def mix_weight(progress: float, start: float, maximum: float) -> float:
    """Return w of the ``mix`` bridge: 0 until ``start``, then linear to ``maximum`` at progress 1.

    A ``start`` of 0 means no ramp: w is ``maximum`` from the first step, as in the authors' code.

    Args:
        progress: share of the training done, in [0, 1].
        start: progress at which the ramp begins, in [0, 1].
        maximum: w at the end of training, in [0, 1].

    Raises:
        ConfigError: an argument outside [0, 1].
    """
    for name, value in (("progress", progress), ("MIX_START", start), ("MIX_MAX", maximum)):
        if not 0 <= value <= 1:
            raise ConfigError(f"{name} must lie between 0 and 1, got {value}")
    if start == 0:
        return maximum
    if progress <= start:
        return 0.0
    return maximum * (progress - start) / (1 - start)
