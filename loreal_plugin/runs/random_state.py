"""Random numbers of an interrupted training: what is drawn after the resume is what would have been
drawn.

The family's checkpoints hold model, optimiser and schedule. The order and the crops of the pictures
come from the process's random state, which is kept beside them, so that a resumed stage ends as an
undisturbed one, bit for bit.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from loreal_plugin.files.tensors import write_torch
from loreal_plugin.files.torch_files import read_torch

PATTERN = "random-state-{}.pt"


def keep_random_state(trainer: Any, folder: Path) -> None:
    """Let a trainer note the random state with each checkpoint between epochs, and take it up when
    it resumes.

    Args:
        trainer: one of the host's, not yet started.
        folder: its output folder; nothing stays there after the last epoch.
    """
    save, before = trainer.save_model, trainer.before_train

    def save_model(epoch: int, directory: str, *args: Any, **kwargs: Any) -> None:
        finished, last = epoch + 1, epoch + 1 == trainer.max_epoch
        if kwargs.get("model_name"):  # the best model so far: nothing resumes from it
            save(epoch, directory, *args, **kwargs)
            return
        if not last:
            _write(folder / PATTERN.format(finished))
        save(epoch, directory, *args, **kwargs)
        # only now: a run that is killed while it saves goes on from the checkpoint before
        for path in folder.glob(PATTERN.format("*")):
            if last or path.name != PATTERN.format(finished):
                path.unlink()

    def before_train() -> None:
        before()
        path = folder / PATTERN.format(trainer.start_epoch)
        if trainer.start_epoch and path.is_file():
            _take(read_torch(path))

    trainer.save_model, trainer.before_train = save_model, before_train


def _write(path: Path) -> None:
    """Write Python's, numpy's and torch's state, whole or not at all."""
    name, keys, *rest = np.random.get_state(legacy=True)
    state = {
        "python": random.getstate(),
        "numpy": (name, np.asarray(keys).tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    write_torch(path, state)


def _take(state: dict[str, Any]) -> None:
    version, values, gauss = state["python"]
    random.setstate((version, tuple(values), gauss))
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
