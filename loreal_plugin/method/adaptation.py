"""Losses and updates that adapt an image encoder to phi by self-distillation.

This is ours, not the paper's. Beta's image side learns, without labels, to give alpha's
embeddings and tokens. What it learned is merged into plain weights, so a test costs the same.

Shapes: B images, N patch tokens, D widths, r rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from loreal_plugin.errors import CheckpointError, ConfigError

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
        raise ConfigError(f"{grid[0]} x {grid[1]} tokens were expected, {count} were given")
    picture = tokens.transpose(1, 2).reshape(batch, width, *grid)  # (B, D, rows, columns)
    return F.adaptive_avg_pool2d(picture, smaller).flatten(2).transpose(1, 2)


def token_loss(beta: Tensor, alpha: Tensor, deviation: Tensor) -> Tensor:
    """Return the mean squared error of tokens (B, N, D), in units of alpha's deviation (D,)."""
    return (((beta.float() - alpha.float()) / deviation.float()) ** 2).mean()


class LowRankUpdate(nn.Module):
    """A weight (d_out, d_in) plus up (d_out, r) times down (r, d_in); `up` starts at zero.

    Raises:
        ConfigError: the rank is below 1 or above the smaller side of the weight.
    """

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        d_out, d_in = weight.shape
        if not 1 <= rank <= min(d_out, d_in):
            raise ConfigError(
                f"rank {rank} was asked for; this image encoder allows 1 to {min(d_out, d_in)}"
                " (--rank, in a run TRAINER.LOREAL.ADAPT_RANK)"
            )
        # Drawn on the CPU, so that one seed gives the same start on every device.
        down = torch.randn(rank, d_in, generator=generator) / d_in**0.5
        self.down = nn.Parameter(down.to(weight.device))
        self.up = nn.Parameter(torch.zeros(d_out, rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the updated weight (d_out, d_in), in the type of `weight`."""
        return weight + (self.up @ self.down).to(weight.dtype)


class FullUpdate(nn.Module):
    """A weight of any shape plus a tensor of its shape in float32, which starts at zero."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.delta = nn.Parameter(torch.zeros_like(weight, dtype=torch.float32))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the updated weight, in the type of `weight`."""
        return weight + self.delta.to(weight.dtype)


class Adaptation:
    """Trainable updates on named weights of a model that is frozen otherwise.

    At the start the model computes what it computed before, bit for bit.

    Args:
        model: its other parameters are left as they are.
        full: names of the weights that get an update of their own shape.
        low_rank: names of the matrices that get a low-rank update.
        rank: of the low-rank updates.
        generator: draws their start.

    Raises:
        ConfigError: the rank does not fit.
    """

    def __init__(
        self,
        model: nn.Module,
        full: Sequence[str],
        low_rank: Sequence[str],
        rank: int,
        generator: torch.Generator,
    ) -> None:
        self.model = model
        weights = {name: model.get_parameter(name) for name in (*full, *low_rank)}
        updates: dict[str, nn.Module] = {name: FullUpdate(weights[name]) for name in full}
        for name in low_rank:
            updates[name] = LowRankUpdate(weights[name], rank, generator)
        self.updates = nn.ModuleDict({_key(name): update for name, update in updates.items()})
        self.names = tuple(updates)
        for name, update in updates.items():
            weights[name].requires_grad_(False)
            parametrize.register_parametrization(*place_of(model, name), update)

    def parameters(self) -> list[nn.Parameter]:
        """Return what trains."""
        return list(self.updates.parameters())

    def state(self) -> dict[str, Tensor]:
        """Return the updates as `<name of the weight>.delta`, `.up` and `.down`."""
        return {
            f"{name}.{part}": value.detach()
            for name in self.names
            for part, value in self.updates[_key(name)].named_parameters()
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over the updates that `state` gave.

        Raises:
            CheckpointError: names or shapes differ; then nothing was copied.
        """
        own = self.state()
        differing = sorted(own.keys() ^ state.keys())
        differing += sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape)
        if differing:
            raise CheckpointError(
                f"the adaptation does not fit this image encoder: {len(differing)} of {len(own)}"
                f" tensors differ, first '{differing[0]}'; it belongs to another backbone, input"
                " size, kind or rank"
            )
        for name, value in own.items():
            value.copy_(state[name])

    def merge(self) -> None:
        """Replace each updated weight by a plain one; what alpha shares stays as it was."""
        for name in self.names:
            module, last = place_of(self.model, name)
            merged = getattr(module, last).detach().clone()
            # Torch's own merging writes into the original, which alpha may share.
            parametrize.remove_parametrizations(module, last, leave_parametrized=False)
            setattr(module, last, nn.Parameter(merged, requires_grad=False))


def _key(name: str) -> str:
    """Return the name of a weight as a module dictionary allows it."""
    return name.replace(".", "/")


def place_of(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Return the module that holds a parameter, and the parameter's name there."""
    path, _, last = name.rpartition(".")
    return model.get_submodule(path), last
