"""A training whose numbers are no longer finite stops at that step, and says on which pictures.

Nothing is saved after the step, so the checkpoints of earlier epochs stay the last ones.

Shapes: B pictures of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.contract.base import bare_model
from loreal_plugin.errors import ConfigError, DataError

SHOWN = 3  # pictures that are named


def watch_numbers(trainer: Any, stage: str, loreal: bool, row: Any) -> None:
    """Let a trainer stop at the first step whose loss or learned numbers are not finite.

    A gradient that is no number makes what it changes no number, so it is seen in the same step.
    Under mixed precision such steps are left out by the scaler and change nothing, as they should.

    Args:
        loreal: the trainer is ours, and its batches are pairs.
        row: the host's contract.

    Raises:
        DataError: (in a step) numbers of single pictures are not finite; they are named.
        ConfigError: (in a step) the training diverges.
    """
    step = trainer.forward_backward

    def forward_backward(batch: Any) -> dict[str, float]:
        try:
            losses = step(batch)
        except FloatingPointError as error:
            raise _fault(trainer, stage, loreal, row, batch, "its loss") from error
        if not math.isfinite(losses.get("loss", 0.0)):
            raise _fault(trainer, stage, loreal, row, batch, "its loss")
        name = _learned_not_finite(trainer)
        if name:
            what = f"after the step, what it learned as '{name}'"
            raise _fault(trainer, stage, loreal, row, batch, what)
        return losses

    trainer.forward_backward = forward_backward


def _fault(
    trainer: Any, stage: str, loreal: bool, row: Any, batch: Any, what: str
) -> ConfigError | DataError:
    """Return the error of a step: single pictures are to blame, else the learning rate."""
    cfg = trainer.cfg
    size = cfg.TRAINER.LOREAL.PHI if loreal else cfg.INPUT.SIZE[0]
    place = (
        f"stage '{stage}' ({cfg.TRAINER.NAME} at {size}) stopped at epoch"
        f" {trainer.epoch + 1} of {trainer.max_epoch}, step {trainer.batch_idx + 1} of"
        f" {trainer.num_batches}"
    )
    names = _picture_files(trainer, batch)
    broken = _rows_not_finite(trainer, loreal, row, batch)
    kept = "what was saved before this epoch is kept"
    # where what was learned is broken itself, every picture looks broken: none is to blame then
    if 0 < len(broken) < len(names) or (broken and not _learned_not_finite(trainer)):
        pictures = list_pictures([names[i] for i in broken])
        return DataError(
            f"{place}: {what} is no finite number, because the model's numbers of {pictures} are"
            f" not; {kept}; look at these pictures, or compute in full precision (PREC fp32)"
        )
    return ConfigError(
        f"{place}: it diverged, {what} is no finite number (OPTIM.LR {cfg.OPTIM.LR}); the step saw"
        f" {list_pictures(names)}; {kept}; run again with a smaller one, -- OPTIM.LR"
        f" {float(cfg.OPTIM.LR) / 10:g}"
    )


def _learned_not_finite(trainer: Any) -> str:
    """Return the name of something learned that is not finite, "" where all is."""
    for model in trainer._models.values():
        for name, value in model.named_parameters():
            if value.requires_grad and not torch.isfinite(value).all():
                return name
    return ""


def list_pictures(names: Sequence[str]) -> str:
    """Return how many pictures these are, and the first of them, as part of a sentence."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} picture(s): {', '.join(names[:SHOWN])}{more}"


def _picture_files(trainer: Any, batch: Any) -> list[str]:
    """Return the files of a batch; batches of stage 3 have positions in the training list."""
    if "impath" in batch:
        return [str(path) for path in batch["impath"]]
    items = trainer.dm.dataset.train_x
    return [str(items[int(i)].impath) for i in batch["index"]]


@torch.no_grad()
def _rows_not_finite(trainer: Any, loreal: bool, row: Any, batch: Any) -> list[int]:
    """Return which pictures of a batch have pixels or features that are not finite."""
    try:
        if loreal:
            parts = trainer.parse_batch_train(batch)[:2]
        else:
            images = batch["img"].to(trainer.device)
            parts = (images, row.encode_image(bare_model(trainer), images))
    except Exception:  # the fault itself must be told, whatever else fails now
        return []
    finite = torch.stack([_finite_rows(part) for part in parts]).all(0)
    return (~finite).nonzero().flatten().tolist()


def _finite_rows(values: Tensor) -> Tensor:
    """Return (B,) bool: all numbers of a picture are finite."""
    return torch.isfinite(values).flatten(1).all(1)
