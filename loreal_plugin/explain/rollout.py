"""Where a vision transformer looks: attention rolled out from its class token back to the patches.

Shapes: B images, T rows of the image tower at a block, P patches, N heads.

Rows that a method puts in (MaPLe's and MMRL's learned tokens) are followed without asking which
method it is: when they enter, they are the same for every picture. So each picture runs beside a
noise picture, and a row that is equal in both carries nothing of either.

Source: Abnar and Zuidema, "Quantifying attention flow in transformers", ACL 2020, section 3
(attention rollout).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from loreal_plugin.errors import HostError
from loreal_plugin.students.student import Student

NOISE_SEED = 0


@dataclass
class LayerAttention:
    """One block's attention: `rows` (T, B, D) that it read, `weights` (B, N, T, T) it gave them."""

    rows: list[Tensor] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)


@contextmanager
def recorded_attention(layers: Sequence[nn.MultiheadAttention]) -> Iterator[list[LayerAttention]]:
    """Let attention layers keep their weights while the block runs; give one record a layer."""
    recorded, handles = [LayerAttention() for _ in layers], []

    def ask_for_weights(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "need_weights": True, "average_attn_weights": False}

    def keep(record: LayerAttention) -> Any:
        def hook(
            _module: nn.Module, args: tuple[Any, ...], _kwargs: dict[str, Any], output: Any
        ) -> None:
            record.rows.append(args[0].detach())
            record.weights.append(output[1].detach())

        return hook

    try:
        for layer, record in zip(layers, recorded, strict=True):
            handles.append(layer.register_forward_pre_hook(ask_for_weights, with_kwargs=True))
            handles.append(layer.register_forward_hook(keep(record), with_kwargs=True))
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


def roll_out(weights: Sequence[Tensor], constant: Sequence[Tensor]) -> Tensor:
    """Return how much of the class token comes from each patch, (P,); what is missing to 1 comes
    from learned tokens.

    Args:
        weights: a layer each, (T, T) attention averaged over heads, a row summing to 1; T may grow
            from layer to layer.
        constant: a layer each, (T,) True for rows that are the same for every picture when they
            enter the layer. The others of the first layer are the P patches.

    Raises:
        HostError: the rows cannot be followed from one layer to the next.
    """
    patches = ~constant[0]
    n_patches = int(patches.sum())
    share = weights[0].new_zeros(len(patches), n_patches)
    share[patches] = torch.eye(n_patches, dtype=share.dtype, device=share.device)
    for attention, learned in zip(weights, constant, strict=True):
        share = _enter(share, learned)
        # half of a row comes past the attention, through the residual connection
        share = 0.5 * share + 0.5 * attention @ share
    return share[0]


def _enter(share: Tensor, learned: Tensor) -> Tensor:
    """Return the shares (T', P) of the rows that enter a layer, from those (T, P) of the last."""
    if len(share) == len(learned):
        return share.masked_fill(learned[:, None], 0)
    if len(share) != int((~learned).sum()):
        raise HostError(
            f"{len(share)} rows left a block of the image tower and {len(learned)} enter the next, "
            f"{int(learned.sum())} of them learned; attention cannot be rolled out"
        )
    grown = share.new_zeros(len(learned), share.shape[1])
    grown[~learned] = share
    return grown


@torch.no_grad()
def class_attention(student: Student, pixels: Tensor) -> Tensor:
    """Return where a student's class token looks in pictures (B, 3, S, S): shares (B, g, g) of its
    g x g patches.

    Raises:
        HostError: its image tower is no transformer whose rows can be followed.
    """
    noise = torch.randn(pixels.shape[1:], generator=torch.Generator().manual_seed(NOISE_SEED)).to(
        pixels
    )
    with recorded_attention(student.contract.image_attention(student.model)) as recorded:
        student.encode_image(torch.cat([pixels, noise[None]]))
    if any(len(layer.weights) != 1 for layer in recorded):
        raise HostError(
            "a block of the image tower ran not once a picture; attention cannot be rolled out"
        )
    maps = []
    for b in range(len(pixels)):
        weights = [layer.weights[0][b].float().mean(0) for layer in recorded]
        constant = [_same(layer.rows[0][:, b], layer.rows[0][:, -1]) for layer in recorded]
        maps.append(_as_grid(roll_out(weights, constant)))
    return torch.stack(maps).cpu()


def _as_grid(share: Tensor) -> Tensor:
    """Return shares of patches (P,) as the square (g, g) that they are in the picture."""
    side = math.isqrt(len(share))
    if side == 0 or side * side != len(share):
        raise HostError(
            f"{len(share)} rows of the image tower depend on the picture, which is no square of"
            " patches; attention cannot be rolled out"
        )
    return share.unflatten(0, (side, side))


def _same(ours: Tensor, noise: Tensor) -> Tensor:
    """Return which rows (T, D) of two pictures agree up to rounding, (T,)."""
    return ((ours - noise).abs() <= 1e-3 * noise.abs().mean().clamp(min=1e-6)).all(dim=-1)
