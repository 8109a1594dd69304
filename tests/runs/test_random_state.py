"""A training that is continued draws the random numbers that it would have drawn."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from loreal_plugin.runs.random_state import keep_random_state

EPOCHS = 4


class Trainer:
    """The family's life cycle around three random numbers an epoch."""

    def __init__(
        self, folder: Path, stop_after: int = EPOCHS, fail_while_saving: bool = False
    ) -> None:
        self.folder, self.stop_after, self.fail = folder, stop_after, fail_while_saving
        self.start_epoch, self.max_epoch, self.drawn = 0, EPOCHS, []

    def before_train(self) -> None:
        mark = self.folder / "epoch"
        self.start_epoch = int(mark.read_text()) if mark.is_file() else 0

    def save_model(self, epoch: int, directory: str, model_name: str = "") -> None:
        if self.fail and epoch + 1 == self.stop_after:
            raise KeyboardInterrupt
        if not model_name:
            (Path(directory) / "epoch").write_text(str(epoch + 1))

    def train(self) -> list[float]:
        """Return what was drawn, epoch by epoch, until `stop_after`."""
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(7)
        self.before_train()
        for epoch in range(self.start_epoch, self.stop_after):
            self.drawn.append(random.random() + np.random.randn() + torch.rand(1).item())
            self.save_model(epoch, str(self.folder), model_name="best")
            self.save_model(epoch, str(self.folder))
        return self.drawn


def run(folder: Path, **how: object) -> list[float]:
    trainer = Trainer(folder, **how)
    keep_random_state(trainer, folder)
    try:
        return trainer.train()
    except KeyboardInterrupt:
        return trainer.drawn


@pytest.mark.parametrize("saving", [False, True])
def test_a_resumed_training_draws_what_an_undisturbed_one_draws(
    tmp_path: Path, saving: bool
) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = run(tmp_path / "whole")
    first = run(tmp_path / "cut", stop_after=3, fail_while_saving=saving)
    finished = 2 if saving else 3  # what was being saved is lost
    assert (tmp_path / "cut" / f"random-state-{finished}.pt").is_file()
    again = run(tmp_path / "cut")
    assert len(whole) == EPOCHS and len(set(whole)) == EPOCHS
    assert first == whole[:3] and again == whole[finished:]
    for name in ("whole", "cut"):
        assert [path.name for path in (tmp_path / name).iterdir()] == ["epoch"]


def test_without_a_noted_state_a_resumed_training_still_runs(tmp_path: Path) -> None:
    run(tmp_path, stop_after=2)
    (tmp_path / "random-state-2.pt").unlink()
    assert len(run(tmp_path)) == 2
