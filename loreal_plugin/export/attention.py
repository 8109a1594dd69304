"""Attention as an exporter writes it short: three products instead of one that is taken apart.

PyTorch's layer multiplies once for queries, keys and values, and then sorts the result with some
twenty operators on shapes, which take a tenth of the time of an encoder in 8 bits. Three products
give the same numbers, and a runtime reads their heads in place.

Shapes: T query tokens, S key tokens, B pictures or texts, D width, N heads, d = D / N.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn

Answer = tuple[Tensor, Tensor | None]


@contextmanager
def short_attention(model: nn.Module) -> Iterator[None]:
    """Let the attention layers of a model compute what they compute with fewer operators.

    A layer of another class, or with keys of another width than queries, stays as it is.
    """
    found = [one for one in model.modules() if isinstance(one, nn.MultiheadAttention)]
    layers = [one for one in found if _is_plain(one)]
    for layer in layers:
        # an attribute of the object hides the method of its class
        layer.forward = _three_products(layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _is_plain(layer: nn.MultiheadAttention) -> bool:
    """Return whether a layer is PyTorch's own, (T, B, D) in, with one bias for each projection."""
    return (
        type(layer) is nn.MultiheadAttention
        and "forward" not in vars(layer)
        and not layer.batch_first
        and layer.in_proj_weight is not None
        and layer.in_proj_bias is not None
        and layer.bias_k is None
        and not layer.add_zero_attn
    )


def _three_products(layer: nn.MultiheadAttention) -> Callable[..., Answer]:
    """Return what a layer computes, as a function with the arguments of its `forward`."""
    heads, width = layer.num_heads, layer.embed_dim
    # tensors of their own: an exporter would write the cutting of the layer's one into the graph
    weights = [part.detach().clone() for part in layer.in_proj_weight.chunk(3)]
    biases = [part.detach().clone() for part in layer.in_proj_bias.chunk(3)]
    for tensor in (weights[0], biases[0]):
        tensor *= (width // heads) ** -0.5  # exact where d is a power of four, as CLIP's 64

    def project(x: Tensor, at: int) -> Tensor:
        """Return queries, keys or values of tokens (T, B, D) as (T, B, N, d)."""
        return F.linear(x, weights[at], biases[at]).unflatten(-1, (heads, -1))

    def forward(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> Answer:
        masks = key_padding_mask, attn_mask
        if need_weights or not _can_be_added(*masks) or query.dim() != 3 or layer.training:
            rest = key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal
            return nn.MultiheadAttention.forward(layer, query, key, value, *rest)
        scores = project(query, 0).permute(1, 2, 0, 3) @ project(key, 1).permute(1, 2, 3, 0)
        if attn_mask is not None:
            scores = scores + attn_mask  # (B, N, T, S)
        read = scores.softmax(-1) @ project(value, 2).permute(1, 2, 0, 3)  # (B, N, T, d)
        return layer.out_proj(read.permute(2, 0, 1, 3).flatten(2)), None

    return forward


def _can_be_added(key_padding_mask: Tensor | None, attn_mask: Tensor | None) -> bool:
    """Return whether there is no mask, or one of numbers (T, S)."""
    if key_padding_mask is not None:
        return False
    return attn_mask is None or (attn_mask.dim() == 2 and attn_mask.is_floating_point())
