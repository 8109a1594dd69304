"""The image positional embedding at another input size: resampled on the grid, class row kept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from loreal_plugin.errors import ConfigError, HostError, unknown_name

# POSITION_RESAMPLING -> mode of torch's `interpolate`, and whether it smooths before it shrinks
RESAMPLINGS = {
    "bicubic": ("bicubic", False),
    "bicubic_antialias": ("bicubic", True),
}


def grid_size_of(input_size: int, patch_size: int, name: str = "input size") -> int:
    """Return the number of patches along one side; the one rule for input sizes, phi among them.

    Args:
        input_size, patch_size: in pixels.
        name: what the user calls this size, for the message.

    Raises:
        ConfigError: `input_size` is no multiple of `patch_size`, or below two patches.
    """
    if input_size % patch_size or input_size < 2 * patch_size:
        near = max(2, round(input_size / patch_size)) * patch_size
        raise ConfigError(
            f"{name} {input_size} does not fit the backbone: it must be a multiple of the patch"
            f" size {patch_size} and at least {2 * patch_size} pixels; the nearest is {near}"
        )
    return input_size // patch_size


def resample_pos_embed(
    pos_embed: Tensor, grid_size: int, resampling: str, num_prefix_tokens: int = 1
) -> Tensor:
    """Return `pos_embed` ((prefix + g*g), D) for another `grid_size`, in its own dtype.

    The same object comes back where the grid already has that size. Rows of prefix tokens (the
    class token) are kept as they are.

    Args:
        resampling: a name of `RESAMPLINGS` (key POSITION_RESAMPLING).

    Raises:
        ConfigError: there is no such resampling.
        HostError: the rows after the prefix are no square grid.

    Source: docs/METHOD.md, "Positional embedding at phi".
    """
    if resampling not in RESAMPLINGS:
        raise ConfigError(unknown_name("POSITION_RESAMPLING", resampling, RESAMPLINGS))
    n_patches = pos_embed.shape[0] - num_prefix_tokens
    old_size = math.isqrt(max(n_patches, 0))
    if old_size == 0 or old_size * old_size != n_patches:
        raise HostError(
            f"positional embedding with {pos_embed.shape[0]} rows, of which {num_prefix_tokens} are"
            " prefix: the rest is no square patch grid"
        )
    if old_size == grid_size:
        return pos_embed
    prefix, grid = pos_embed[:num_prefix_tokens], pos_embed[num_prefix_tokens:]
    # float32: bicubic weights in half precision lose three digits, and CPUs lack the kernel.
    grid = grid.float().reshape(1, old_size, old_size, -1).permute(0, 3, 1, 2)  # (1, D, g, g)
    mode, antialias = RESAMPLINGS[resampling]
    size = (grid_size, grid_size)
    grid = F.interpolate(grid, size=size, mode=mode, align_corners=False, antialias=antialias)
    grid = grid.permute(0, 2, 3, 1).reshape(grid_size * grid_size, -1).to(pos_embed.dtype)
    return torch.cat([prefix, grid])


def resample_visual_(visual: nn.Module, input_size: int, resampling: str) -> nn.Module:
    """Make a CLIP ViT read `input_size` x `input_size` pixels, in place; return it.

    Args:
        resampling: a name of `RESAMPLINGS`.

    Raises:
        HostError: the image encoder is no ViT.
        ConfigError: the size does not fit the patch size, or there is no such resampling.
    """
    if not hasattr(visual, "positional_embedding") or not hasattr(visual, "conv1"):
        raise HostError(
            f"image encoder {type(visual).__name__} has no patch positional embedding: low"
            " resolution is supported for ViT backbones only"
        )
    old = visual.positional_embedding
    grid_size = grid_size_of(input_size, visual.conv1.weight.shape[-1])
    new = resample_pos_embed(old.data, grid_size, resampling)
    if new is not old.data and new.shape != old.shape:
        visual.positional_embedding = nn.Parameter(new, requires_grad=old.requires_grad)
    visual.input_resolution = input_size
    return visual


@contextmanager
def positions_at(towers: Sequence[nn.Module], input_size: int, resampling: str) -> Iterator[None]:
    """Let CLIP ViTs read `input_size` x `input_size` pixels inside; then put theirs back.

    Args:
        towers: their positions must be frozen.
        resampling: a name of `RESAMPLINGS`.

    Raises:
        HostError: the positions of a tower are being learned.
        ConfigError: the size does not fit the patch size, or there is no such resampling.
    """
    own = [tower.positional_embedding for tower in towers]
    if any(positions.requires_grad for positions in own):
        raise HostError(
            "image positions that are learned cannot be resampled for each step; train at one size"
        )
    try:
        for tower, positions in zip(towers, own, strict=True):
            grid_size = grid_size_of(input_size, tower.conv1.weight.shape[-1])
            new = resample_pos_embed(positions.data, grid_size, resampling)
            tower.positional_embedding = nn.Parameter(new, requires_grad=False)
        yield
    finally:
        for tower, positions in zip(towers, own, strict=True):
            tower.positional_embedding = positions


def keep_own_pos_embed(
    module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: object
) -> None:
    """Let a checkpoint of another input size load: a `load_state_dict` pre-hook for a CLIP ViT.

    MaPLe and MMRL save the whole CLIP. Its positional embedding is not learned, so where only the
    grid differs the module's own resampled rows are loaded instead of the saved ones.
    """
    key = prefix + "positional_embedding"
    own = module.positional_embedding
    saved = state_dict.get(key)
    if saved is not None and saved.shape != own.shape and saved.shape[-1] == own.shape[-1]:
        state_dict[key] = own.detach().clone()
