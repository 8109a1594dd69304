"""The training of an adaptation: steps on shards, a schedule, checkpoints to go on from.

Every order is a function of (seed, pass), so a training that goes on is the one that was never
interrupted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.adapt.settings import BETAS, WARM_UP_STEPS, AdaptSettings
from loreal_plugin.adapt.shards import Shard, Shards
from loreal_plugin.adapt.tower import Tower
from loreal_plugin.errors import ConfigError
from loreal_plugin.files.tensors import pack_optimizer, unpack_optimizer
from loreal_plugin.method.adaptation import Adaptation, embedding_loss, token_loss
from loreal_plugin.students.views import as_input


@dataclass
class Progress:
    """Where a training stands; `loss` is the mean over the last pass."""

    passes_done: int
    passes: int
    seconds: float
    loss: float


class Distillation:
    """One training of beta's image side.

    Args:
        beta: the pupil, with `adaptation` on it.
        shards: its pictures and targets, and the processes that share the work.
        accumulate: parts in which a batch is computed, for less memory.
    """

    def __init__(
        self,
        beta: Tower,
        adaptation: Adaptation,
        shards: Shards,
        settings: AdaptSettings,
        accumulate: int = 1,
    ) -> None:
        self.beta, self.adaptation, self.shards = beta, adaptation, shards
        self.settings, self.accumulate = settings, accumulate
        self.order = shards.passes(settings.epochs)
        self.optimizer = torch.optim.AdamW(
            adaptation.parameters(), lr=settings.lr, betas=BETAS, weight_decay=0.0
        )
        half = beta.student.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(beta.device.type, enabled=half)
        self.passes_done = self.passes_at_start = 0
        self._deviations: list[Tensor] = []

    @property
    def steps(self) -> int:
        """Return the number of steps of the whole training."""
        return sum(self._steps_of(part) for _, part in self.order)

    def _steps_of(self, part: int) -> int:
        """Return the steps of a pass over a part; an incomplete last batch is left out."""
        count, batch = len(self.shards.parts[part]), self.settings.batch
        return max(1, count // batch)

    # ---- training --------------------------------------------------------------------------------

    def run(self) -> Iterator[Progress]:
        """Train to the end, from where it stands; yield after every pass.

        Raises:
            ConfigError: the loss is no number any more.
        """
        started = time.monotonic()
        step = sum(self._steps_of(part) for _, part in self.order[: self.passes_done])
        total = self.steps
        for number in range(self.passes_done, len(self.order)):
            shard = self.shards.get(*self.order[number])
            losses = []
            for batch, size in self._batches(len(shard.features), number):
                self._set_rate(step, total)
                losses.append(self._step(shard, batch, size))
                step += 1
            of_steps = torch.stack(losses)
            loss = of_steps.mean().item()
            if not math.isfinite(loss):
                first = int((~of_steps.isfinite()).nonzero()[0]) + 1
                raise ConfigError(
                    f"the adaptation's loss is {loss} in step {first} of {len(of_steps)}, pass"
                    f" {number + 1} of {len(self.order)}: the learning rate {self.settings.lr:g} is"
                    " too high; choose a smaller one (--lr, in a run TRAINER.LOREAL.ADAPT_LR); if"
                    " the loss stays so, a picture's target is no number; what was saved after"
                    " earlier passes is kept"
                )
            self.passes_done = number + 1
            yield Progress(self.passes_done, len(self.order), time.monotonic() - started, loss)

    def _batches(self, count: int, number: int) -> Iterator[tuple[Tensor, int]]:
        """Yield the index batches of a pass over `count` pictures, each with one of the sizes."""
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + number)
        order = torch.randperm(count, generator=generator)
        parts = order.split(self.settings.batch)
        batches = [batch for batch in parts if len(batch) == self.settings.batch] or [order]
        sizes = torch.randint(len(self.shards.sizes), (len(batches),), generator=generator)
        yield from zip(batches, sizes.tolist(), strict=True)

    def _set_rate(self, step: int, total: int) -> None:
        """Set the learning rate of a step: a linear warm-up, then half a cosine down to zero."""
        warm = min(WARM_UP_STEPS, max(1, total // 10))
        if step < warm:
            share = (step + 1) / warm
        else:
            share = 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * share

    def _step(self, shard: Shard, batch: Tensor, size: int) -> Tensor:
        """Take one step on some pictures of a shard at a size; return the loss, detached.

        This process computes its share, in parts; gradients and losses of all add up.
        """
        ranks = self.shards.ranks
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.beta.device)
        for part in ranks.share(batch).tensor_split(self.accumulate):
            if len(part):
                loss = self._loss(shard, part, size) * (len(part) / len(batch))
                self.scaler.scale(loss).backward()
                total = total + loss.detach()
        ranks.add_gradients(self.adaptation.parameters())
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return ranks.sum(total)

    def _loss(self, shard: Shard, batch: Tensor, size: int) -> Tensor:
        """Return the mean loss of some pictures of a shard at a size."""
        device = self.beta.device
        self.beta.read_grid(self.shards.grids[size])
        images = as_input(shard.pixels[size][batch].to(device), self.shards.recipe)
        features, tokens = self.beta.encode(images)
        wanted = shard.features[batch].to(device)
        loss = embedding_loss(features, wanted)
        s = self.settings
        if s.token_weight:
            rows = shard.tokens[size][batch].to(device).float()
            deviation = self.deviations[size].to(device)
            loss = loss + s.token_weight * token_loss(tokens, rows, deviation)
        return loss

    @property
    def deviations(self) -> list[Tensor]:
        """Return the standard deviation (D,) of alpha's tokens in the first shard, of each size."""
        if not self._deviations:
            for tokens in self.shards.get(*self.order[0]).tokens:
                spread = tokens.double().flatten(0, 1).std(0)
                self._deviations.append(spread.clamp(min=1e-6).float())
        return self._deviations

    # ---- state -----------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what a training goes on from: tensors, and plain numbers."""
        tensors = {f"update.{name}": value for name, value in self.adaptation.state().items()}
        tensors |= pack_optimizer(self.optimizer)[0]  # AdamW has tensors alone
        return tensors, {"passes_done": self.passes_done, "scaler": self.scaler.state_dict()}

    def load_state(self, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
        """Go on from what `state` gave; CheckpointError where it does not fit."""
        updates = {
            name.removeprefix("update."): value
            for name, value in tensors.items()
            if name.startswith("update.")
        }
        self.adaptation.load(updates)
        unpack_optimizer(self.optimizer, tensors, {})
        self.scaler.load_state_dict(plain["scaler"])
        self.passes_done = self.passes_at_start = int(plain["passes_done"])
