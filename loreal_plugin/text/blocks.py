"""What a host's text encoder is made of, and one of its blocks run on some rows of a prompt.

A block runs on the rows it is given and on keys and values of earlier rows, which nobody computes
twice. Keys and values of a row stand side by side: (..., rows, 2D); in the code they are `kv`.

Shapes: B images, C classes, S rows that run, T rows in all (earlier ones included), D = D_t width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from loreal_plugin.errors import HostError
from loreal_plugin.method.slots import SplicedPrompts


class TextLayer(Protocol):
    """A pre-norm residual block of CLIP's text transformer."""

    ln_1: Callable[[Tensor], Tensor]
    attn: nn.MultiheadAttention
    ln_2: Callable[[Tensor], Tensor]
    mlp: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TextBlocks:
    """The parts of one host's causal text transformer; built by the host contract.

    Attributes:
        positional_embedding: (L, D_t).
        layers: the blocks, first one first.
        final_norm: the norm after the last block, (N, D_t) -> (N, D_t).
        projection: (D_t, D_v), from the text width to the joint width.
        enter: `(layer_index, x (N, T, D_t)) -> (N, T', D_t)`, what the host does before that block
            to the rows after the start token: MaPLe replaces some, MMRL inserts some. `x` has the
            static rows of the prompts alone, start token first. None: nothing.
        enter_class: the same with a third argument, which class (N,) each prompt is of, for rows
            that differ from class to class. It takes the place of `enter`.
        branch: `(layer_index, x (N, S, D_t)) -> (N, S, D_t) or None`, computed row by row from the
            block's input and added to its output (MMA's adapters). None: nothing.
        embed_contents: change of raw contents (B, K, D_t) that the host's prompts already had
            (MMA's adapter 0), row by row. None: nothing.
        after: change of the finished features (N, D_v), row by row (an adapter). None: nothing.
        min_static_rows: leading rows that `enter` may replace, the start token included.

    Raises:
        HostError: a block lacks one of the four parts, or its attention has no joint input
            projection.
    """

    positional_embedding: Tensor
    layers: Sequence[TextLayer]
    final_norm: Callable[[Tensor], Tensor]
    projection: Tensor
    enter: Callable[[int, Tensor], Tensor] | None = None
    enter_class: Callable[[int, Tensor, Tensor], Tensor] | None = None
    branch: Callable[[int, Tensor], Tensor | None] | None = None
    embed_contents: Callable[[Tensor], Tensor] | None = None
    after: Callable[[Tensor], Tensor] | None = None
    min_static_rows: int = 1

    def __post_init__(self) -> None:
        advice = "set TEXT_PATH to reference"
        for i, layer in enumerate(self.layers):
            missing = [name for name in ("ln_1", "attn", "ln_2", "mlp") if not hasattr(layer, name)]
            if missing:
                kind = type(layer).__name__
                raise HostError(f"text block {i} ({kind}) has no {', '.join(missing)}; {advice}")
            if getattr(layer.attn, "in_proj_weight", None) is None:
                kind = type(layer.attn).__name__
                raise HostError(
                    f"text block {i}: its attention ({kind}) has no in_proj_weight; {advice}"
                )

    @property
    def dtype(self) -> torch.dtype:
        """Floating type that the blocks compute in."""
        return self.layers[0].attn.in_proj_weight.dtype

    def entered(self, layer_index: int, x: Tensor, classes: Tensor) -> Tensor:
        """Return static rows (C, T', D_t) of classes (C,) as the host changes them before a block.

        Args:
            x: (C, T, D_t).
        """
        if self.enter_class is not None:
            return self.enter_class(layer_index, x, classes)
        return x if self.enter is None else self.enter(layer_index, x)

    def finish(self, x: Tensor) -> Tensor:
        """Return text features (N, D_v) of the last block's rows x (N, D_t)."""
        features = self.final_norm(x).type(self.positional_embedding.dtype) @ self.projection
        return features if self.after is None else self.after(features)


def causal_bias(
    n_valid: Tensor, n_past: int, n_common: int, n_rows: int, dtype: torch.dtype
) -> Tensor:
    """Return the additive mask (C, n_rows, n_past + n_common + n_rows) of 0 and -inf.

    Args:
        n_valid: (C,) how many of the n_past padded earlier rows a class has; they come first.
        n_past: padded number of earlier rows.
        n_common: further earlier rows, all visible.
        n_rows: rows of the query, causal among themselves.
        dtype: of the queries.
    """
    device = n_valid.device
    past = torch.arange(n_past, device=device) < n_valid[:, None]  # (C, n_past)
    past = past[:, None, :].expand(-1, n_rows, -1)
    own = torch.ones(n_rows, n_common + n_rows, dtype=torch.bool, device=device).tril(n_common)
    visible = torch.cat([past, own.expand(len(n_valid), -1, -1)], dim=-1)
    return torch.zeros(visible.shape, dtype=dtype, device=device).masked_fill(
        ~visible, float("-inf")
    )


def run_block(
    blocks: TextBlocks,
    index: int,
    x: Tensor,
    earlier: Sequence[Tensor],
    bias: Tensor,
    read: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the block's output rows, and the keys and values (B, C, S, 2D) of its input rows.

    Args:
        blocks: the host's text transformer.
        index: which block.
        x: (B, C, S, D) input rows.
        earlier: keys and values of earlier rows in order, each (B or 1, C or 1, rows, 2D).
        bias: (C or 1, S, T) additive mask.
        read: (C,) when given, only this row of each class is computed: the output is (B, C, 1, D).
    """
    layer = blocks.layers[index]
    width = x.shape[-1]
    # nn.MultiheadAttention keeps the three input projections as one weight (3D, D): q, k, v.
    weight, offset = layer.attn.in_proj_weight, layer.attn.in_proj_bias
    h = layer.ln_1(x)
    if read is None:
        q, kv = F.linear(h, weight, offset).split([width, 2 * width], dim=-1)
    else:
        # Of the last block one row counts; all rows still give keys and values to attend to.
        x = _one_row(x, read)
        bias = bias.gather(1, read[:, None, None].expand(-1, 1, bias.shape[-1]))  # (C, 1, T)
        q = F.linear(_one_row(h, read), weight[:width], None if offset is None else offset[:width])
        kv = F.linear(h, weight[width:], None if offset is None else offset[width:])
    x_in = x
    x = x + _attend(layer.attn, q, kv, earlier, bias)
    x = x + layer.mlp(layer.ln_2(x))
    added = None if blocks.branch is None else blocks.branch(index, x_in.flatten(0, 1))
    if added is not None:
        x = x + added.to(x.dtype).unflatten(0, x.shape[:2])
    return x, kv


@torch.no_grad()
def run_static(
    blocks: TextBlocks, prompts: SplicedPrompts, classes: Tensor, n_rows: int
) -> list[Tensor]:
    """Return each layer's keys and values (C, T, 2D) of the first n_rows rows of some classes.

    T is larger than n_rows in layers before which the host inserted rows.
    """
    dtype, stored = blocks.dtype, []
    # In full precision even under autocast: stored values must not depend on who asks first.
    with torch.autocast(classes.device.type, enabled=False):
        position = blocks.positional_embedding[:n_rows].to(dtype)
        x = prompts.static_rows(classes)[:, :n_rows].to(dtype) + position
        for i in range(len(blocks.layers)):
            x = blocks.entered(i, x, classes).to(dtype)
            bias = causal_bias(x.new_zeros(1, dtype=torch.long), 0, 0, x.shape[1], x.dtype)
            y, kv = run_block(blocks, i, x[None], [], bias)
            x = y[0]
            stored.append(kv[0])
    return stored


def _attend(
    attn: nn.MultiheadAttention, q: Tensor, kv: Tensor, earlier: Sequence[Tensor], bias: Tensor
) -> Tensor:
    """Return the attention's output (B, C, Q, D) of the queries q (B, C, Q, D)."""
    n_images, n_classes, n_queries, width = q.shape
    past = [rows.to(kv.dtype).expand(n_images, n_classes, -1, -1) for rows in earlier]
    # One joined copy for PyTorch's fused attention. Scoring earlier and own rows apart saves the
    # copy. But on one CPU core, at CLIP's width and at width 64, that was 1.5 times slower forward
    # and equal with gradient.
    joined = torch.cat([*past, kv], dim=2) if past else kv  # (B, C, T, 2D)

    def heads(t: Tensor) -> Tensor:
        # (B, C, rows, D) -> (B * C, heads, rows, D / heads)
        return t.reshape(n_images * n_classes, t.shape[2], attn.num_heads, -1).transpose(1, 2)

    k, v = joined.split(width, dim=-1)
    mask = bias.to(q.dtype).expand(n_images, n_classes, -1, -1).flatten(0, 1).unsqueeze(1)
    out = F.scaled_dot_product_attention(heads(q), heads(k), heads(v), attn_mask=mask)
    return attn.out_proj(out.transpose(1, 2).reshape(q.shape))


def _one_row(x: Tensor, read: Tensor) -> Tensor:
    """Return one row per class, (B, C, 1, D), of x (B, C, S, D)."""
    index = read[None, :, None, None].expand(x.shape[0], -1, 1, x.shape[-1])
    return x.gather(2, index)


# ---- memory of rows ------------------------------------------------------------------------------

GIB = 1024**3

# Memory in units of D float32 numbers: (of a row that runs, of an earlier row whose keys and values
# are joined to it). True: per layer, kept for the backward pass; False: at one time, without one.
# Measured at CLIP's text size with four images and eight classes, slots behind and before the class
# name; rounded up.
_WIDTHS = {True: (15, 4), False: (23, 6)}

# Fixed numbers, not the free memory: the chunking changes the last bits of a sum, and runs must
# reproduce.
_TRAINING_BUDGET = {"cpu": 2 * GIB, "cuda": 8 * GIB}
_INFERENCE_BUDGET = {"cpu": GIB // 4, "cuda": 2 * GIB}


def auto_chunk(
    rows_per_class: int,
    width: int,
    n_layers: int,
    needs_grad: bool,
    device: torch.device,
    budget: int = 0,
    earlier: int = 0,
) -> int:
    """Return how many classes fit the activation budget at once.

    Args:
        rows_per_class: rows that one class adds to the batch, all images together.
        width: D_t.
        n_layers: layers whose activations are alive at the same time in training.
        needs_grad: whether activations are kept for a backward pass.
        device: where the rows live.
        budget: bytes, of which three quarters are for activations; 0 = a fixed number for the
            device.
        earlier: rows of a class, all images together, of which only keys and values are read.
    """
    budgets = _TRAINING_BUDGET if needs_grad else _INFERENCE_BUDGET
    # Keys and values have the other quarter, see `keys_fit`.
    budget = budget - budget // 4 or budgets.get(device.type, budgets["cpu"])
    per_row, per_earlier = _WIDTHS[needs_grad]
    widths = rows_per_class * per_row + earlier * per_earlier
    return max(1, budget // max(1, widths * width * 4 * (n_layers if needs_grad else 1)))


def keys_fit(blocks: TextBlocks, n_rows: int, budget: int = 0) -> bool:
    """Return whether the keys and values of so many rows take at most a quarter of the budget.

    Args:
        blocks: every one of its layers has keys and values of each row.
        n_rows: rows of all prompts together.
        budget: bytes; 0 = a fixed number for the device.
    """
    weight = blocks.layers[0].attn.in_proj_weight
    share = budget // 4 or _INFERENCE_BUDGET.get(weight.device.type, _INFERENCE_BUDGET["cpu"])
    per_row = 2 * weight.shape[1] * weight.element_size() * len(blocks.layers)
    return n_rows * per_row <= share
