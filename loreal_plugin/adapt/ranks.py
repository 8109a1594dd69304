"""Several processes that train one adaptation, as `torchrun` starts them; alone, one of one.

Each takes its share of the pictures and of every batch. What they train is what one process trains,
up to the order in which numbers are added.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Ranks:
    """This process among those that train together.

    Attributes:
        rank: its number, from 0.
        count: how many there are.
    """

    def __init__(self, rank: int = 0, count: int = 1, device: str = "cpu") -> None:
        self.rank, self.count, self.device = rank, count, torch.device(device)

    @property
    def first(self) -> bool:
        """Return whether this one speaks and writes files."""
        return self.rank == 0

    def share(self, rows: Sequence[Any] | Tensor) -> Any:
        """Return this process's part of some rows: every `count`-th, from its own number on."""
        return rows[self.rank :: self.count]

    def gather(self, mine: Tensor, total: int) -> Tensor:
        """Return all `total` rows of which every process has its `share`, in their order."""
        if self.count == 1:
            return mine
        # every process has to give as many rows: the last ones are padding
        most = -(-total // self.count)
        padded = torch.zeros(most, *mine.shape[1:], dtype=mine.dtype, device=self.device)
        padded[: len(mine)] = mine.to(self.device)
        parts = [torch.empty_like(padded) for _ in range(self.count)]
        dist.all_gather(parts, padded)
        return torch.stack(parts, dim=1).flatten(0, 1)[:total].to(mine.device)

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all processes, in place; a missing one counts as zeros."""
        if self.count == 1:
            return
        trained = list(parameters)
        for p in trained:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        flat = torch.cat([p.grad.flatten() for p in trained if p.grad is not None])
        dist.all_reduce(flat)
        for p, part in zip(trained, flat.split([p.numel() for p in trained]), strict=True):
            p.grad = part.view_as(p).clone()

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum of a number over all processes."""
        if self.count > 1:
            value = value.to(self.device).clone()
            dist.all_reduce(value)
        return value

    def all_have(self, answer: bool) -> bool:
        """Return whether every process says yes."""
        return int(self.sum(torch.tensor(int(answer)))) == self.count

    def broadcast(self, value: Any) -> Any:
        """Return what the first process has; the others' values do not matter."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, device=self.device)
        return values[0]


@contextmanager
def ranks_of_environment() -> Iterator[Ranks]:
    """Yield this process among those of `torchrun` (RANK, WORLD_SIZE), or alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks(device="cuda" if torch.cuda.is_available() else "cpu")
        return
    cuda = torch.cuda.is_available()
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Ranks(dist.get_rank(), count, "cuda" if cuda else "cpu")
    finally:
        dist.destroy_process_group()
