"""The demonstration CLIP: clip-anytorch's own modules, and a faster way to run them in
pre-training.

The parameters live in `clip.model.CLIP`, so what is trained is what `clip.model.build_model` loads.
The two functions here compute the same features with less work: they keep some of the image tokens
only, use fused attention, and evaluate the last text block at the end-of-text token alone.

Shapes: B images, N texts, L tokens, G patches kept, P = 3 * S * S values of a patch of S pixels, D
width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from loreal_plugin.demo.world import IMAGE_SIZE
from loreal_plugin.weights import import_clip

PATCH_SIZE = 16
GRID = IMAGE_SIZE // PATCH_SIZE
HEAD_WIDTH = 64  # clip.model.build_model derives the number of heads from the width
# CLIP's own normalisation, which every host applies.
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class TowerConfig:
    """Sizes of the demonstration CLIP."""

    vision_width: int = 128
    vision_layers: int = 3
    text_width: int = 64
    text_layers: int = 3
    embed_dim: int = 128
    logit_scale: float = 20.0
    position_std: float = 0.5  # of the visual positional embedding at the start
    patch_size: int = PATCH_SIZE


def create_clip(config: TowerConfig, vocab_size: int) -> nn.Module:
    """Returns an untrained `clip.model.CLIP` of these sizes, initialised for a short training."""
    import_clip()
    from clip.model import CLIP

    model = CLIP(
        config.embed_dim,
        IMAGE_SIZE,
        config.vision_layers,
        config.vision_width,
        config.patch_size,
        77,
        vocab_size,
        config.text_width,
        max(1, config.text_width // HEAD_WIDTH),
        config.text_layers,
    )
    nn.init.normal_(model.token_embedding.weight, std=0.1)
    nn.init.normal_(model.positional_embedding, std=0.03)
    _init_visual_position(model.visual.positional_embedding, config.position_std)
    model.logit_scale.data.fill_(torch.tensor(config.logit_scale).log().item())
    return model.float()


@torch.no_grad()
def _init_visual_position(position: Tensor, std: float, waves: int = 6) -> None:
    """Fills a positional embedding (1 + G, D) with random mixtures of slow plane waves.

    Neighbours then start out alike, so where the object is can be read long before 196 unrelated
    vectors would have been learned.
    """
    grid = math.isqrt(len(position) - 1)
    along = torch.arange(grid).add(0.5).mul(torch.pi / grid)
    basis = torch.stack([torch.cos(k * along) / (1 + k) for k in range(waves)])  # (waves, grid)
    planes = torch.einsum("iy,jx->yxij", basis, basis).reshape(grid * grid, -1)[:, 1:]
    mixed = planes @ torch.randn(planes.shape[1], position.shape[1])
    position[1:] = mixed * (std / mixed.std())
    position[0].normal_(std=std)


def patchify(images: Tensor, size: int = PATCH_SIZE) -> Tensor:
    """Returns the patches (B, G, P) of images (B, 3, H, H), in a conv kernel's order."""
    b, c, height, width = images.shape
    grid = images.view(b, c, height // size, size, width // size, size)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c * size * size)


def normalise_patches(patches: Tensor) -> Tensor:
    """Returns uint8 patches (..., P) as CLIP-normalised floats."""
    area = patches.shape[-1] // 3
    mean = torch.tensor(PIXEL_MEAN).repeat_interleave(area)
    std = torch.tensor(PIXEL_STD).repeat_interleave(area)
    return torch.addcmul(-mean / std, patches.float(), 1 / (255 * std))


def _split_heads(x: Tensor, heads: int) -> Tensor:
    return x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def _attend(
    block: nn.Module, x: Tensor, rows: Tensor | None, mask: Tensor | None, causal: bool
) -> Tensor:
    """Returns the attention output of `block` for all rows of `x` (B, L, D) or one each (B,)."""
    attention = block.attn
    width, heads = attention.embed_dim, attention.num_heads
    normed = block.ln_1(x)
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    if rows is None:
        q, k, v = F.linear(normed, weight, bias).split(width, dim=-1)
    else:
        q = F.linear(normed[torch.arange(len(x)), rows].unsqueeze(1), weight[:width], bias[:width])
        k, v = F.linear(normed, weight[width:], bias[width:]).split(width, dim=-1)
    q, k, v = (_split_heads(t, heads) for t in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    mixed = mixed.transpose(1, 2).reshape(x.shape[0], -1, width)
    return F.linear(mixed, attention.out_proj.weight, attention.out_proj.bias)


def _feed_forward(block: nn.Module, x: Tensor) -> Tensor:
    """Returns the MLP output; QuickGELU(x) is silu(1.702 x) / 1.702, folded into the weights."""
    up, down = block.mlp.c_fc, block.mlp.c_proj
    hidden = F.silu(F.linear(block.ln_2(x), up.weight * 1.702, up.bias * 1.702))
    return F.linear(hidden, down.weight / 1.702, down.bias)


def _run_block(block: nn.Module, x: Tensor, causal: bool) -> Tensor:
    x = x + _attend(block, x, None, None, causal)
    return x + _feed_forward(block, x)


def encode_patches(
    model: nn.Module, patches: Tensor, keep: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns image features (B, E), the class token before projection (B, D), patch tokens (B, G,
    D).

    The patch tokens are those that the last block reads.

    Args:
        patches: normalised patches (B, G, P), those at the positions `keep`.
        keep: their positions (G,) in the full grid, or None for a whole picture of any square size.
    """
    visual = model.visual
    position = visual.positional_embedding
    if keep is None:
        position = resample_position(position, round(patches.shape[1] ** 0.5))
    patch_position = position[1:] if keep is None else position[1:][keep]
    x = F.linear(patches, visual.conv1.weight.flatten(1)) + patch_position
    first = (visual.class_embedding + position[0]).expand(len(x), 1, -1)
    x = visual.ln_pre(torch.cat([first, x], dim=1))
    *blocks, last = visual.transformer.resblocks
    for block in blocks:
        x = _run_block(block, x, causal=False)
    first_row = torch.zeros(len(x), dtype=torch.long)
    end = x[:, :1] + _attend(last, x, first_row, None, causal=False)
    end = end + _feed_forward(last, end)
    token = visual.ln_post(end[:, 0])
    return F.normalize(token @ visual.proj, dim=-1), token, x[:, 1:]


def encode_embeddings(model: nn.Module, embeddings: Tensor, eot: Tensor) -> Tensor:
    """Returns normalised text features (N, E) of embeddings (N, L, D) that end at `eot` (N,)."""
    length = embeddings.shape[1]
    x = embeddings + model.positional_embedding[:length]
    *blocks, last = model.transformer.resblocks
    for block in blocks:
        x = _run_block(block, x, causal=True)
    visible = (torch.arange(length) <= eot[:, None])[:, None, None]
    end = x[torch.arange(len(x)), eot].unsqueeze(1) + _attend(last, x, eot, visible, causal=False)
    end = end + _feed_forward(last, end)
    return F.normalize(model.ln_final(end[:, 0]) @ model.text_projection, dim=-1)


def encode_text(model: nn.Module, ids: Tensor) -> Tensor:
    """Returns normalised text features (N, E) of token ids (N, L); the largest id ends a text."""
    return encode_embeddings(model, model.token_embedding(ids), ids.argmax(dim=-1))


def resample_position(position: Tensor, grid: int) -> Tensor:
    """Returns the positional embedding (1 + grid * grid, D) of another grid, bicubic."""
    native = round((len(position) - 1) ** 0.5)
    if grid == native:
        return position
    plane = position[1:].T.reshape(1, -1, native, native)
    plane = F.interpolate(plane, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([position[:1], plane.flatten(2)[0].T])


@torch.no_grad()
def init_patch_embedding(
    model: nn.Module, patches: Tensor, power: float = 0.3, scale: float = 0.3
) -> None:
    """Sets the patch embedding to the principal components of normalised patches (n, P), partly
    whitened.

    Full whitening starves the colours; none at all hides the fine detail.
    """
    centred = patches - patches.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(patches))
    width = model.visual.conv1.weight.shape[0]
    values, vectors = values.flip(0)[:width].clamp_min(1e-6), vectors.flip(1)[:, :width]
    model.visual.conv1.weight.copy_(
        (vectors / values**power).T.reshape(model.visual.conv1.weight.shape) * scale
    )
