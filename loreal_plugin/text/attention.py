"""One causal text block run on some rows of a prompt, given the keys and values of earlier rows.

Shapes: B images, C classes, S rows, N heads, D width; keys and values side by side are (..., rows,
2D).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from loreal_plugin.text.blocks import TextBlocks


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
    past = torch.arange(n_past, device=device) < n_valid[:, None]
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
    """Return the block's output rows and the keys and values of its input rows.

    Args:
        blocks: the host's text transformer.
        index: which block.
        x: (B, C, S, D) input rows.
        earlier: keys and values of earlier rows in order, each (B or 1, C or 1, rows, 2D).
        bias: (C or 1, S, all rows) additive mask.
        read: (C,) when given, only this row of each class is computed: the output is (B, C, 1, D).
    """
    layer = blocks.layers[index]
    width = x.shape[-1]
    weight, offset = layer.attn.in_proj_weight, layer.attn.in_proj_bias
    h = layer.ln_1(x)
    if read is None:
        q, keys = F.linear(h, weight, offset).split([width, 2 * width], dim=-1)
    else:
        x, bias = (
            _read_row(x, read),
            bias.gather(1, read[:, None, None].expand(-1, 1, bias.shape[-1])),
        )
        q = F.linear(_read_row(h, read), weight[:width], None if offset is None else offset[:width])
        keys = F.linear(h, weight[width:], None if offset is None else offset[width:])
    x_in = x
    x = x + _attend(layer.attn, q, keys, earlier, bias)
    x = x + layer.mlp(layer.ln_2(x))
    added = blocks.branch(index, x_in.flatten(0, 1))
    if added is not None:
        x = x + added.to(x.dtype).unflatten(0, x.shape[:2])
    return x, keys


def _attend(
    attn: nn.MultiheadAttention, q: Tensor, keys: Tensor, earlier: Sequence[Tensor], bias: Tensor
) -> Tensor:
    """Return the attention's output (B, C, Q, D) of the queries q (B, C, Q, D)."""
    n_images, n_classes, n_queries, width = q.shape
    every = [k.to(keys.dtype).expand(n_images, n_classes, -1, -1) for k in earlier]
    # One joined copy for PyTorch's fused attention. Scoring earlier and own rows apart saves the
    # copy, but on one CPU core it was 1.5 times slower forward at CLIP's width and equal with
    # gradient, also at width 64.
    joined = torch.cat([*every, keys], dim=2) if every else keys

    def heads(t: Tensor) -> Tensor:
        return t.reshape(n_images * n_classes, t.shape[2], attn.num_heads, -1).transpose(1, 2)

    k, v = joined.split(width, dim=-1)
    mask = bias.to(q.dtype).expand(n_images, n_classes, -1, -1).flatten(0, 1).unsqueeze(1)
    out = F.scaled_dot_product_attention(heads(q), heads(k), heads(v), attn_mask=mask)
    return attn.out_proj(out.transpose(1, 2).reshape(q.shape))


def _read_row(x: Tensor, read: Tensor) -> Tensor:
    """Return one row per class, (B, C, 1, D), of x (B, C, S, D)."""
    index = read[None, :, None, None].expand(x.shape[0], -1, 1, x.shape[-1])
    return x.gather(2, index)
