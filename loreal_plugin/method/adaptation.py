"""Losses and low-rank updates that adapt an image encoder to phi by self-distillation.

This is ours, not the paper's. Beta's image side learns, without labels, to give alpha's
embeddings and tokens. What it learned is merged into plain weights, so a test costs the same.
No stage of a run uses it yet.

Shapes: B images, N patch tokens, K classes, D widths, r rank.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from loreal_plugin.errors import ConfigError

COSINE_SCALE = 10.0


def embedding_loss(beta: Tensor, alpha: Tensor) -> Tensor:
    """Return ten times the mean of one minus the cosine of two embeddings, each (B, D)."""
    cosine = F.cosine_similarity(beta.float(), alpha.float(), dim=-1)
    return COSINE_SCALE * (1 - cosine).mean()


def pooled_tokens(tokens: Tensor, grid: tuple[int, int], smaller: tuple[int, int]) -> Tensor:
    """Return alpha's patch tokens (B, N, D) of `grid`, averaged over the areas of `smaller`.

    Raises:
        ConfigError: N is not the number of cells of `grid`.
    """
    batch, count, width = tokens.shape
    if count != grid[0] * grid[1]:
        raise ConfigError(f"{grid[0]} x {grid[1]} tokens were expected, {count} were given.")
    picture = tokens.transpose(1, 2).reshape(batch, width, *grid)
    return F.adaptive_avg_pool2d(picture, smaller).flatten(2).transpose(1, 2)


def token_loss(beta: Tensor, alpha: Tensor, deviation: Tensor) -> Tensor:
    """Return the mean squared error of tokens (B, N, D), in units of alpha's deviation (D,)."""
    return (((beta.float() - alpha.float()) / deviation.float()) ** 2).mean()


def logit_loss(beta: Tensor, alpha: Tensor) -> Tensor:
    """Return the KL divergence of beta's class distribution from alpha's; logits are (B, K)."""
    log_beta = F.log_softmax(beta.float(), dim=-1)
    log_alpha = F.log_softmax(alpha.float(), dim=-1)
    return F.kl_div(log_beta, log_alpha, reduction="batchmean", log_target=True)


class LowRankUpdate(nn.Module):
    """A weight (d_out, d_in) plus up (d_out, r) times down (r, d_in); `up` starts at zero.

    Raises:
        ConfigError: the rank is below 1 or above the smaller side of the weight.
    """

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        d_out, d_in = weight.shape
        if not 1 <= rank <= min(d_out, d_in):
            raise ConfigError(f"Rank {rank} was asked; choose 1 to {min(d_out, d_in)}.")
        # Drawn on the CPU, so that one seed gives the same start on every device.
        down = torch.randn(rank, d_in, generator=generator) / d_in**0.5
        self.down = nn.Parameter(down.to(weight.device))
        self.up = nn.Parameter(torch.zeros(d_out, rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the updated weight (d_out, d_in), in the type of `weight`."""
        return weight + (self.up @ self.down).to(weight.dtype)


def add_update(module: nn.Module, name: str, rank: int, generator: torch.Generator) -> None:
    """Freeze the weight `name` of `module` and put a trainable low-rank update on it."""
    weight = getattr(module, name)
    update = LowRankUpdate(weight, rank, generator)
    weight.requires_grad_(False)
    parametrize.register_parametrization(module, name, update)


def merge_updates(places: Iterable[tuple[nn.Module, str]]) -> None:
    """Replace each updated weight by a plain one; a weight shared with alpha stays as it was."""
    for module, name in places:
        merged = getattr(module, name).detach().clone()
        # Torch's own merging writes into the original, which alpha may share.
        parametrize.remove_parametrizations(module, name, leave_parametrized=False)
        setattr(module, name, nn.Parameter(merged, requires_grad=False))
