"""A training goes on from what its journal vouches for, and says truly what it took."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loreal_plugin.files import write_json
from loreal_plugin.results.record import STARTED
from loreal_plugin.runs.journal import Journal, ending
from loreal_plugin.runs.random_state import PATTERN

EPOCHS = 5


def trained(folder: Path, epochs: int, *, state: bool = True) -> Journal:
    """Train some epochs as a host does, with checkpoints and random states."""
    journal = Journal(folder, "model")

    def save_model(epoch: int, directory: str, **_: Any) -> None:
        (folder / "model" / f"model.pth.tar-{epoch + 1}").write_text(f"weights {epoch + 1}")
        (folder / "model" / "checkpoint").write_text(f"model.pth.tar-{epoch + 1}\n")

    trainer = SimpleNamespace(save_model=save_model)
    (folder / "model").mkdir(parents=True, exist_ok=True)
    journal.begin("key", EPOCHS)
    journal.watch(trainer)
    for epoch in range(epochs):
        if state:
            (folder / PATTERN.format(epoch + 1)).write_text("state")
        trainer.save_model(epoch, str(folder))
        (folder / PATTERN.format(epoch)).unlink(missing_ok=True)
    return journal


def again(folder: Path) -> Journal:
    return Journal(folder, "model")


def test_a_whole_training_goes_on(tmp_path):
    trained(tmp_path, 3)
    journal = again(tmp_path)
    assert journal.key == "key" and journal.obstacle(random_state=True) == ""
    journal.drop_others()
    assert (tmp_path / "model" / "checkpoint").read_text() == "model.pth.tar-3\n"
    assert len(list((tmp_path / "model").iterdir())) == 4


@pytest.mark.parametrize(
    ("name", "harm", "said"),
    [
        ("model/model.pth.tar-2", lambda path: path.write_text("x"), "is not what was written"),
        ("model/model.pth.tar-3", lambda path: path.unlink(), "is gone"),
        (PATTERN.format(3), lambda path: path.write_text("x"), "is not what was written"),
        (PATTERN.format(3), lambda path: path.unlink(), "is gone"),
        (STARTED, lambda path: path.write_text(path.read_text()[:-9]), "is no JSON"),
        (STARTED, lambda p: p.write_text(p.read_text().replace("key", "kez")), "hash differs"),
    ],
)
def test_what_is_damaged_is_not_gone_on_from(tmp_path, name, harm, said):
    trained(tmp_path, 3)
    harm(tmp_path / name)
    fault = again(tmp_path).obstacle(random_state=True)
    assert said in fault and fault.startswith(str(tmp_path / name))


def test_a_checkpoint_that_was_not_vouched_for_is_left_out(tmp_path):
    """The process was killed between the checkpoint and the journal."""
    trained(tmp_path, 2)
    vouched = (tmp_path / STARTED).read_bytes()
    trained(tmp_path, 3)
    (tmp_path / STARTED).write_bytes(vouched)
    (tmp_path / PATTERN.format(2)).write_text("state")
    (tmp_path / "model" / "checkpoint").write_text("")  # hosts write their pointer in one go
    journal = again(tmp_path)
    assert journal.obstacle(random_state=True) == ""
    journal.drop_others()
    assert (tmp_path / "model" / "checkpoint").read_text() == "model.pth.tar-2\n"
    assert not (tmp_path / "model" / "model.pth.tar-3").exists()
    assert not (tmp_path / PATTERN.format(3)).exists()


def test_nothing_was_vouched_for_yet(tmp_path):
    trained(tmp_path, 0)
    (tmp_path / "model" / "model.pth.tar-1").write_text("half")
    (tmp_path / "model" / "checkpoint").write_text("model.pth.tar-1\n")
    journal = again(tmp_path)
    assert journal.obstacle(random_state=True) == ""
    journal.drop_others()
    assert list((tmp_path / "model").iterdir()) == []


def test_a_missing_random_state_is_not_accepted_after_an_older_release_either(tmp_path):
    trained(tmp_path, 2, state=False)
    write_json(tmp_path / STARTED, {"key": "key"})
    assert "random state of the training, is gone" in again(tmp_path).obstacle(random_state=True)
    assert again(tmp_path).obstacle(random_state=False) == ""


def test_a_best_model_that_was_being_written_starts_the_stage_again(tmp_path):
    trained(tmp_path, 2)
    (tmp_path / "model" / "model-best.pth.tar").write_text("half")
    assert "was being written" in again(tmp_path).obstacle(random_state=True)


def test_seconds_of_a_training_are_the_sum_of_its_parts(tmp_path, monkeypatch):
    clock = SimpleNamespace(monotonic=time.monotonic, time=time.time, now=1000.0)
    monkeypatch.setattr("loreal_plugin.runs.journal.time", clock)
    clock.monotonic = clock.time = lambda: clock.now
    meter = SimpleNamespace(peak_memory_mb=10.0)
    first = trained(tmp_path, 1)
    with pytest.raises(KeyboardInterrupt), ending(first, meter):
        clock.now += 7
        raise KeyboardInterrupt
    # the second is killed: its last sign of life in a file is 5 seconds after its start
    second = again(tmp_path)
    second.begin("key", EPOCHS)
    for path in tmp_path.glob("**/*"):
        os.utime(path, (clock.now, clock.now))
    os.utime(tmp_path / "model" / "checkpoint", (clock.now + 5, clock.now + 5))
    clock.now += 1000
    third = again(tmp_path)
    third.begin("key", EPOCHS)
    assert third.earlier == 12
    meter.peak_memory_mb = 8.0
    with ending(third, meter):
        clock.now += 2
    assert [part["seconds"] for part in third.parts] == [7, 5, 2]
    assert third.peak_memory_mb == 10.0
    assert again(tmp_path).parts == third.parts
