"""One training step of stage 3, in the parts that are no part of the method.

Shapes: B pictures, F features a picture, D_v width of an embedding, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.errors import ConfigError, unknown_name
from loreal_plugin.method.bridge import mix_weight
from loreal_plugin.options import LorealOptions
from loreal_plugin.trainer.stage3 import Stage3

MIX_STEPS = ("step", "epoch")


def embed(stage3: Stage3, batch: dict[str, Any], device: torch.device) -> tuple[Tensor, ...]:
    """Return features of alpha and of beta (B, F, D_v), and labels (B,), of a training batch.

    Batches are embeddings already, or pictures that are embedded here.
    """
    labels = batch["label"].to(device)
    if "features_alpha" in batch:
        return batch["features_alpha"].to(device), batch["features_beta"].to(device), labels
    model, (mean_alpha, mean_beta) = stage3.model, stage3.means
    assert model.alpha is not None, "a model without alpha only predicts"
    seen = model.alpha.encode_image(batch["img"].to(device))
    low = model.embed(batch["img_low"].to(device))
    model.alpha.mean, model.beta.mean = mean_alpha.add(seen), mean_beta.add(low)
    return seen, low, labels


def training_progress(steps: str, *, epoch: int, epochs: int, batch: int, batches: int) -> float:
    """Return the share of the training done, in [0, 1], that the ``mix`` bridge goes by.

    Args:
        steps: ``step`` = it grows with every step, from 0 at the first to 1 at the last; ``epoch``
            = it is constant within an epoch, 1 / epochs in the first and 1 in the last (the
            authors' code).
        epoch, batch: where the training is, counted from 0.
        epochs, batches: how many there are, of batches in one epoch.

    Raises:
        ConfigError: another word in `steps`.
    """
    if steps not in MIX_STEPS:
        raise ConfigError(unknown_name("MIX_STEPS", steps, MIX_STEPS))
    if steps == "epoch":
        return (epoch + 1) / max(epochs, 1)
    done = epoch * batches + batch
    return min(1.0, done / max(1, epochs * batches - 1))


def update(trainer: Any, loss: Tensor) -> None:
    """Take one step of a Dassl trainer's optimiser; its `scaler` scales the loss, if there is one.

    Raises:
        FloatingPointError: the loss is no finite number; nothing has changed.
    """
    if trainer.scaler is None:
        trainer.model_backward_and_update(loss)
        return
    trainer.detect_anomaly(loss)
    trainer.optim.zero_grad()
    trainer.scaler.scale(loss).backward()
    trainer.scaler.step(trainer.optim)
    trainer.scaler.update()


def shown(
    losses: Mapping[str, Tensor],
    logits: Tensor,
    labels: Tensor,
    options: LorealOptions,
    progress: float,
) -> dict[str, float]:
    """Return what the log shows of a step: losses, the weight of the mix, beta's accuracy.

    Args:
        logits: (B, C).
        labels: (B,).
        progress: of the training, as `mix_weight` takes it.
    """
    told = {name: value.item() for name, value in losses.items()}
    if options.bridge == "mix":
        told["mix_weight"] = mix_weight(progress, options.mix_start, options.mix_max)
    right = logits.detach().argmax(1) == labels
    return {**told, "acc": 100 * right.float().mean().item()}
