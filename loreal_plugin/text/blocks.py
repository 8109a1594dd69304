"""What a host's text encoder is made of, as the prefix path needs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from loreal_plugin.errors import HostError


def _unchanged(_layer: int, x: Tensor) -> Tensor:
    return x


def _no_branch(_layer: int, _x: Tensor) -> None:
    return None


def _same(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True)
class TextBlocks:
    """The parts of one host's causal text transformer; built by the host contract.

    Attributes:
        positional_embedding: (L, D_t).
        layers: pre-norm residual blocks with ``ln_1``, ``attn`` (nn.MultiheadAttention), ``ln_2``,
            ``mlp``.
        finish: (N, D_t) -> (N, D_v), the final norm and the projection.
        enter: ``(layer_index, x (N, T, D_t)) -> (N, T', D_t)``, what the host does before that
            block to the
            rows right after the start token: MaPLe replaces some, MMRL inserts some. It only ever
            sees the static rows of the prompts, start token first.
        branch: ``(layer_index, x (N, T, D_t)) -> (N, T, D_t) or None``, computed row by row from
            the block's input and added to its output (MMA's adapters).
        embed_contents: change of raw contents (B, K, D_t) that the host's prompts already had
            (MMA's adapter 0); row by row.
        min_static_rows: number of leading rows that ``enter`` may replace, the start token
            included.

    Raises:
        HostError: a block lacks one of the four parts, or its attention has no joint input
            projection.
    """

    positional_embedding: Tensor
    layers: Sequence[nn.Module]
    finish: Callable[[Tensor], Tensor]
    enter: Callable[[int, Tensor], Tensor] = _unchanged
    branch: Callable[[int, Tensor], Tensor | None] = _no_branch
    embed_contents: Callable[[Tensor], Tensor] = _same
    min_static_rows: int = 1

    def __post_init__(self) -> None:
        for i, layer in enumerate(self.layers):
            missing = [name for name in ("ln_1", "attn", "ln_2", "mlp") if not hasattr(layer, name)]
            if missing:
                raise HostError(
                    f"text block {i} ({type(layer).__name__}) has no {', '.join(missing)}; "
                    "set TEXT_PATH to reference"
                )
            if getattr(layer.attn, "in_proj_weight", None) is None:
                raise HostError(
                    f"text block {i}: its attention ({type(layer.attn).__name__}) has no"
                    " in_proj_weight; set TEXT_PATH to reference"
                )
