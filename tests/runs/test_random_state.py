"""A training that is continued draws the random numbers that it would have drawn."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from loreal_plugin.runs.logs import StageConsole
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


class Averaging(Trainer):
    """A trainer that also averages over epochs, in an attribute that no checkpoint holds."""

    def __init__(self, folder: Path, **how: object) -> None:
        super().__init__(folder, **how)
        self.average, self.teacher, self.device = {"w": torch.zeros(2)}, torch.ones(3), "cpu"

    def before_train(self) -> None:
        self.start_epoch = self.resume_model_if_exist(str(self.folder))

    def resume_model_if_exist(self, directory: str) -> int:
        mark = Path(directory) / "epoch"
        return int(mark.read_text()) if mark.is_file() else 0

    def save_model(self, epoch: int, directory: str, model_name: str = "") -> None:
        if model_name:  # the first of two calls an epoch: what is averaged is there by the second
            self.average["w"] = (self.average["w"] + self.drawn[-1]) / 2
        super().save_model(epoch, directory, model_name)


def averaged(folder: Path, stop_after: int = EPOCHS, **how: object) -> tuple[torch.Tensor, list]:
    """Train until an epoch; return the average and what was said."""
    trainer, said = Averaging(folder, stop_after=stop_after), []
    keep_random_state(trainer, folder, say=said.append, **how)
    trainer.train()
    return trainer.average["w"], said


@pytest.mark.parametrize(("kept", "anew"), [(("average",), False), ((), True)])
def test_state_outside_the_checkpoints_is_kept_or_the_stage_starts_anew(
    tmp_path: Path, kept: tuple[str, ...], anew: bool
) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole, _ = averaged(tmp_path / "whole", kept=kept)
    averaged(tmp_path / "cut", stop_after=3, kept=kept)
    again, said = averaged(tmp_path / "cut", kept=kept)
    assert torch.equal(again, whole)
    assert bool(said) is anew
    if anew:  # the frozen teacher is no such state
        assert "starts anew: its trainer keeps average outside" in said[0]
        console = io.StringIO()
        StageConsole(console).write(f"{said[0]}\n")
        assert "starts anew" in console.getvalue()  # not in the log alone
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["epoch"]
