"""What an interrupted training needs beside its checkpoints: random numbers, a trainer's own state.

The family's checkpoints hold model, optimiser and schedule. The order and the crops of the pictures
come from the process's random state, which is kept beside them, so that a resumed stage ends as an
undisturbed one, bit for bit. What a row names as `kept_state` is kept, too. Where a trainer is seen
to change other state of its own, a resumed stage starts anew and says so.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from loreal_plugin.files import read_json, write_json
from loreal_plugin.files.tensors import write_torch
from loreal_plugin.files.torch_files import read_torch
from loreal_plugin.runs.trainer_state import (
    changed_names,
    outside_checkpoint,
    restore_state,
    state_of,
)

PATTERN = "random-state-{}.pt"
UNSAVED = "unsaved-state.json"


def keep_random_state(
    trainer: Any, folder: Path, kept: Sequence[str] = (), say: Callable[[str], None] = print
) -> None:
    """Let a trainer note the random state with each checkpoint between epochs, and take it up when
    it resumes.

    Args:
        trainer: one of the host's, not yet started.
        folder: its output folder; nothing stays there after the last epoch.
        kept: names of the trainer's own attributes that are kept and taken up, too.
        say: prints one line, where a stage starts anew instead.
    """
    save, before = trainer.save_model, trainer.before_train
    at_start = outside_checkpoint(trainer)
    if hasattr(trainer, "resume_model_if_exist"):
        _refuse_without_state(trainer, folder, say)

    def save_model(epoch: int, directory: str, *args: Any, **kwargs: Any) -> None:
        finished, last = epoch + 1, epoch + 1 == trainer.max_epoch
        if kwargs.get("model_name"):  # the best model so far: nothing resumes from it
            save(epoch, directory, *args, **kwargs)
            return
        if not last:
            names = changed_names(at_start, outside_checkpoint(trainer))
            unsaved = [name for name in names if name not in kept]
            if unsaved:
                write_json(folder / UNSAVED, {"names": unsaved})
            _save(folder / PATTERN.format(finished), state_of(trainer, kept))
        else:
            (folder / UNSAVED).unlink(missing_ok=True)
        save(epoch, directory, *args, **kwargs)
        # only now: a run that is killed while it saves goes on from the checkpoint before
        for path in folder.glob(PATTERN.format("*")):
            if last or path.name != PATTERN.format(finished):
                path.unlink()

    def before_train() -> None:
        before()
        path = folder / PATTERN.format(trainer.start_epoch)
        if trainer.start_epoch and path.is_file():
            state = read_torch(path)
            _restore(state)
            restore_state(trainer, state.get("kept", {}))

    trainer.save_model, trainer.before_train = save_model, before_train


def _refuse_without_state(trainer: Any, folder: Path, say: Callable[[str], None]) -> None:
    """Let a trainer start anew where an earlier process saw it change what no checkpoint holds."""
    resume = trainer.resume_model_if_exist

    def resume_model_if_exist(directory: str) -> int:
        unsaved = (read_json(folder / UNSAVED) or {}).get("names")
        if not unsaved:
            return resume(directory)
        say(  # the console shows warnings out of a stage's log
            f"warning: the stage starts anew: its trainer keeps {', '.join(unsaved)} outside its"
            " checkpoints (kept_state of its row would keep it)"
        )
        return 0

    trainer.resume_model_if_exist = resume_model_if_exist


def _save(path: Path, kept: dict[str, Any]) -> None:
    """Write Python's, numpy's, torch's and the trainer's own state, whole or not at all."""
    name, keys, *rest = np.random.get_state(legacy=True)
    state = {
        "python": random.getstate(),
        "numpy": (name, np.asarray(keys).tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "kept": kept,
    }
    write_torch(path, state)


def _restore(state: dict[str, Any]) -> None:
    version, values, gauss = state["python"]
    random.setstate((version, tuple(values), gauss))
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
