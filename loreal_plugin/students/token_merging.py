"""Token merging: a CLIP image encoder works on a large picture with a small one's tokens.

After the attention of a block, the tokens that are most alike are averaged. Nothing is trained.
Every picture is merged by itself.

Shapes: B pictures, T tokens (the class token first), D width, N heads.

Source: Bolya and others, "Token Merging: Your ViT but faster", ICLR 2023, section 3: bipartite
matching of keys, means weighted by size, the logarithm of sizes added to attention. Their schedule
merges the same number in every block; ours merges at once what can be merged, so that nearly all
blocks have the small picture's number of tokens: the comparison is at the same cost.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MergedTower:
    """An image encoder whose tokens are merged down to `keep`.

    Args:
        encode: (B, 3, S, S) -> (B, F, D_v), which runs the blocks.
        blocks: its residual blocks, with CLIP's names.
        keep: tokens that remain, the class token included.
    """

    def __init__(
        self, encode: Callable[[Tensor], Tensor], blocks: nn.Sequential, keep: int
    ) -> None:
        self.encode, self.blocks, self.keep = encode, list(blocks), keep
        self.sizes = torch.empty(0)  # (B, T): how many patches a token stands for

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the encoder's features of images (B, 3, S, S)."""
        for number, block in enumerate(self.blocks):
            block.forward = partial(self._block, block, number == 0)
        try:
            return self.encode(images)
        finally:
            for block in self.blocks:
                del block.forward  # the class's own method is used again

    def _block(self, block: Any, first: bool, x: Tensor) -> Tensor:
        """Return a block's output (T', B, D) for tokens x (T, B, D), of which some are merged."""
        if first:
            self.sizes = torch.ones(x.shape[1], x.shape[0], device=x.device)
        attention, normed = block.attn, block.ln_1(x)
        # a token that stands for n patches gets the attention of n equal tokens: log(n) is added
        weight = self.sizes.log()[:, None, None, :].expand(-1, attention.num_heads, x.shape[0], -1)
        mask = weight.reshape(-1, x.shape[0], x.shape[0]).to(x)
        x = x + attention(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        # at most every second token behind the class token can be merged
        n_merged = min(x.shape[0] - self.keep, (x.shape[0] - 1) // 2)
        if n_merged > 0:
            keys = mean_keys(attention, normed)
            merged, self.sizes = merge(x.transpose(0, 1), keys, self.sizes, n_merged)
            x = merged.transpose(0, 1)
        return x + block.mlp(block.ln_2(x))


def mean_keys(attention: nn.MultiheadAttention, normed: Tensor) -> Tensor:
    """Return the keys of tokens (T, B, D), averaged over heads, (B, T, D / N)."""
    width, heads = attention.embed_dim, attention.num_heads
    bias = attention.in_proj_bias[width : 2 * width]
    # in_proj holds queries, keys and values one after the other
    keys = F.linear(normed, attention.in_proj_weight[width : 2 * width], bias)  # (T, B, D)
    return keys.unflatten(-1, (heads, -1)).mean(2).transpose(0, 1).float()


def merge(x: Tensor, keys: Tensor, sizes: Tensor, n_merged: int) -> tuple[Tensor, Tensor]:
    """Return tokens and sizes with `n_merged` tokens less: means of those with like keys.

    The tokens behind the class token are dealt out in turn into two sets; each of the first has one
    partner in the second, and the closest pairs are merged.

    Args:
        x: tokens (B, T, D).
        keys: (B, T, d).
        sizes: how many patches each stands for, (B, T).
    """
    unit = F.normalize(keys, dim=-1)
    scores = unit[:, 1::2] @ unit[:, 2::2].transpose(1, 2)  # (B, T1, T2), without the class token
    best, partner = scores.max(-1)
    order = best.argsort(dim=-1, descending=True, stable=True)
    gone, stay = order[:, :n_merged], order[:, n_merged:].sort(-1).values
    into = partner.gather(1, gone)
    # sums, weighted by size; the division at the end makes means of them
    first, second = x[:, 1::2] * sizes[:, 1::2, None].to(x), x[:, 2::2] * sizes[:, 2::2, None].to(x)
    second = second.scatter_add(1, _wide(into, x), first.gather(1, _wide(gone, x)))
    second_sizes = sizes[:, 2::2].scatter_add(1, into, sizes[:, 1::2].gather(1, gone))
    first_sizes = sizes[:, 1::2].gather(1, stay)
    kept = first.gather(1, _wide(stay, x))
    new_sizes = torch.cat([sizes[:, :1], first_sizes, second_sizes], dim=1)
    sums = torch.cat([x[:, :1] * sizes[:, :1, None].to(x), kept, second], dim=1)
    return sums / new_sizes[..., None].to(x), new_sizes


def _wide(places: Tensor, x: Tensor) -> Tensor:
    """Return places (B, n) of tokens as an index of all their entries, (B, n, D)."""
    return places[..., None].expand(-1, -1, x.shape[-1])
