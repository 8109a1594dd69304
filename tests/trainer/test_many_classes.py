"""1,000 classes: a step of stage 3 takes bounded memory, and says what it took (`pytest -s`)."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch
from first_step import first_step
from PIL import Image

from loreal_plugin.bench.memory import peak_of

L = "TRAINER.LOREAL."
MANY, BUDGET, BATCH = 1000, 128, 2


@pytest.fixture(scope="module")
def many(family) -> str:
    """Give a dataset of so many classes, four pictures each; the same four, under many names."""
    root = family.data / "many"
    for number in range(MANY):
        folder = root / f"class {number}"
        folder.mkdir(parents=True)
        for shot in range(4):
            path = root / "class 0" / f"{shot}.png"
            if number:
                os.link(path, folder / path.name)
            else:
                Image.new("RGB", (8, 8), (shot * 60, 30, 77)).save(path)
    return root.name


def test_a_step_stays_within_its_budget(family, many: str, tmp_path: Path) -> None:
    opts = ["DATASET.FOLDER", many, "DATASET.NUM_SHOTS", 1, f"{L}MEMORY_BUDGET_MB", BUDGET]
    opts += ["DATALOADER.TRAIN_X.BATCH_SIZE", BATCH]
    trainer = family.build("coop", tmp_path, *opts, subset="all")
    found = {}

    def step() -> None:
        found["losses"], found["gradient"] = first_step(trainer)

    took = peak_of(step, torch.device("cpu"), calls=1)
    assert len(trainer.dm.dataset.classnames) == MANY
    assert found["losses"].isfinite().all() and found["gradient"].norm() > 0
    more = took["peak_mib"] - took["held_mib"]
    # beside activations and keys it has each class's text features, and their gradients
    assert more < 2 * BUDGET, took
    print(f"{MANY} classes, {BATCH} pictures: {took['first_s']:.1f} s a step, {more:.0f} MiB")


def test_nothing_grows_from_epoch_to_epoch(family, tmp_path: Path) -> None:
    trainer = family.build("coop", tmp_path, "OPTIM.MAX_EPOCH", 5)
    counts: list[int] = []
    ended = trainer.after_epoch

    def count() -> None:
        ended()
        gc.collect()
        counts.append(sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects()))

    trainer.after_epoch = count
    trainer.train()
    assert len(counts) == 5 and len(set(counts[1:])) == 1, counts
