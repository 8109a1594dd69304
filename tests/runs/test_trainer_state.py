"""What a trainer changes outside its checkpoints is seen, wherever it keeps it, and put back."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from loreal_plugin.files.tensors import write_torch
from loreal_plugin.files.torch_files import read_torch
from loreal_plugin.runs.trainer_state import (
    changed_names,
    outside_checkpoint,
    restore_state,
    state_of,
)


class Average:
    """A weight average as many repositories write one: no module, with the model and a shadow."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.steps = model, 0
        self.shadow = {name: value.detach().clone() for name, value in model.named_parameters()}

    def __call__(self) -> None:
        """Take the weights in."""
        self.steps += 1
        for name, value in self.model.named_parameters():
            self.shadow[name] = 0.5 * self.shadow[name] + 0.5 * value.detach()


class Trainer:
    """A model of which one part is registered, as the family's trainers do."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.ModuleDict({"frozen": nn.Linear(3, 3), "learned": nn.Linear(3, 2)})
        self.model.register_buffer("memory", torch.zeros(2))
        learned = self.model["learned"]
        self._models = {"prompt_learner": learned}
        self.optim = torch.optim.SGD(learned.parameters(), lr=0.1, momentum=0.9)
        self._optims = {"prompt_learner": self.optim}
        self.other = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
        self.average = Average(learned)
        self.counts = np.zeros(3)
        self.last = deque([torch.zeros(1)], maxlen=2)
        self.teacher = copy.deepcopy(self.model["frozen"])
        self.device = "cpu"

    def step(self) -> None:
        """Train one step."""
        self.model["learned"](torch.ones(1, 3)).sum().backward()
        self.optim.step()


def average(trainer: Trainer) -> None:
    trainer.average()


def count(trainer: Trainer) -> None:
    trainer.counts[1] += 1


def remember(trainer: Trainer) -> None:
    trainer.last.append(torch.ones(1))


def write_buffer(trainer: Trainer) -> None:
    trainer.model.memory.add_(1)


def step_other(trainer: Trainer) -> None:
    (parameter,) = trainer.other.param_groups[0]["params"]
    parameter.grad = torch.ones(2)
    trainer.other.step()


CHANGES = {
    "average": average,
    "counts": count,
    "last": remember,
    "model": write_buffer,
    "other": step_other,
}


def test_a_step_alone_changes_nothing_outside_the_checkpoint() -> None:
    trainer = Trainer()
    trainer.step()  # so that the optimizer has its state
    before = outside_checkpoint(trainer)
    trainer.step()
    assert changed_names(before, outside_checkpoint(trainer)) == []


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen_under_the_name_of_its_attribute(name: str) -> None:
    trainer = Trainer()
    before = outside_checkpoint(trainer)
    change: Callable[[Trainer], None] = CHANGES[name]
    trainer.step()
    change(trainer)
    assert changed_names(before, outside_checkpoint(trainer)) == [name]


def plain(value: Any) -> Any:
    """Return tensors and arrays as lists, so that two states can be compared."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return value.tolist()
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, (list, tuple, deque)) else value


def test_what_a_row_names_goes_through_a_file(tmp_path: Path) -> None:
    trainer, names = Trainer(), ("average", "counts", "last", "other")
    trainer.step()
    for name in names:
        CHANGES[name](trainer)
    write_torch(tmp_path / "kept.pt", state_of(trainer, names))
    again = Trainer()
    model = again.average.model
    restore_state(again, read_torch(tmp_path / "kept.pt"))
    assert again.average.steps == 1 and plain(again.average.shadow) == plain(trainer.average.shadow)
    assert again.average.model is model  # of this process
    assert plain(again.counts) == [0, 1, 0] and isinstance(again.counts, np.ndarray)
    assert plain(again.last) == [[0], [1]] and again.last.maxlen == 2
    assert plain(again.other.state_dict()) == plain(trainer.other.state_dict())
