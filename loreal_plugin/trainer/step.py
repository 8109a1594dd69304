"""A training step of stage 3 without the method: its batches, and what is around its losses.

A batch is pictures seen twice, or their cached embeddings; both come in the same order. The order
of an epoch and its views are functions of (seed, epoch) alone. So a resumed run goes on as an
uninterrupted one, and runs with and without a cache see the same.

Shapes: B pictures, F features a picture, D_v width of an embedding, C classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from loreal_plugin.errors import ConfigError, unknown_name
from loreal_plugin.method.bridge import mix_weight
from loreal_plugin.method.correction import Correction
from loreal_plugin.method.loreal import Loreal
from loreal_plugin.options import LorealOptions
from loreal_plugin.students.views import PairedViews

MIX_STEPS = ("step", "epoch")


# ---- batches -------------------------------------------------------------------------------------


class EpochSampler(Sampler[int]):
    """Indices of `count` pictures, shuffled by (seed, epoch) or in order."""

    def __init__(self, count: int, seed: int, shuffle: bool = True) -> None:
        self.count, self.seed, self.shuffle, self.epoch = count, seed, shuffle, 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        if not self.shuffle:
            return iter(range(self.count))
        digest = hashlib.sha256(f"order/{self.seed}/{self.epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        return iter(torch.randperm(self.count, generator=generator).tolist())


def view_number(epoch: int, n_views: int) -> int:
    """Return the view that an epoch sees: `epoch` modulo V, or a new one each time where V is 0."""
    return epoch % n_views if n_views else epoch


class ViewLoader:
    """Batches `{"img", "img_low", "label", "index", "view"}` of pictures at two sizes."""

    def __init__(
        self,
        views: PairedViews,
        sampler: EpochSampler,
        batch_size: int,
        n_views: int = 0,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.dataset, self.sampler, self.n_views = views, sampler, n_views
        # As the hosts' loader: an incomplete last batch is left out, unless it is the only one.
        drop_last = len(views) >= batch_size
        self.loader = DataLoader(
            views,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=num_workers,
            pin_memory=pin_memory,
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose order and view of the next pass."""
        self.sampler.epoch = epoch
        self.dataset.set_view(view_number(epoch, self.n_views))

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.loader)


class FeatureLoader:
    """Batches `{"features_alpha", "features_beta", "label", "index"}` of embeddings."""

    def __init__(
        self, alpha: Tensor, beta: Tensor, labels: Tensor, sampler: EpochSampler, batch_size: int
    ) -> None:
        self.alpha, self.beta, self.labels = alpha, beta, labels
        self.sampler, self.batch_size = sampler, batch_size
        self.view = 0

    def correct_beta(self, correction: Correction) -> None:
        """Replace beta's embeddings by their corrected ones."""
        self.beta = correction(self.beta.flatten(0, 1)).unflatten(0, self.beta.shape[:2])

    def set_epoch(self, epoch: int) -> None:
        """Choose order and view of the next pass."""
        self.sampler.epoch = epoch
        self.view = view_number(epoch, self.alpha.shape[1])

    def __len__(self) -> int:
        return max(1, len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        order = torch.tensor(list(self.sampler))
        for part in order.split(self.batch_size)[: len(self)]:
            yield {
                "features_alpha": self.alpha[part, self.view],
                "features_beta": self.beta[part, self.view],
                "label": self.labels[part],
                "index": part,
            }


class RunningMean:
    """The mean features (F, D_v) of the training pictures of a pass, batch by batch."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin a new pass."""
        self._sum: Tensor | float = 0.0
        self._count = 0

    def add(self, features: Tensor) -> Tensor:
        """Take in a batch (B, F, D_v); return the mean of the pass so far."""
        self._sum = self._sum + features.detach().double().sum(0).cpu()
        self._count += len(features)
        return (self._sum / self._count).float()


# ---- the step ------------------------------------------------------------------------------------


def embed(
    model: Loreal,
    means: tuple[RunningMean, RunningMean],
    batch: dict[str, Any],
    device: torch.device,
) -> tuple[Tensor, ...]:
    """Return features of alpha and of beta (B, F, D_v), and labels (B,), of a training batch.

    A batch has embeddings already, or pictures that are embedded here. With pictures, `means` (of
    alpha's and of beta's features) grow, and become the students' means.
    """
    labels = batch["label"].to(device)
    if "features_alpha" in batch:
        return batch["features_alpha"].to(device), batch["features_beta"].to(device), labels
    assert model.alpha is not None, "a model without alpha only predicts"
    seen = model.alpha.encode_image(batch["img"].to(device))
    low = model.embed(batch["img_low"].to(device))
    model.alpha.mean, model.beta.mean = means[0].add(seen), means[1].add(low)
    return seen, low, labels


def training_progress(steps: str, *, epoch: int, epochs: int, batch: int, batches: int) -> float:
    """Return the share of the training done, in [0, 1], that the ``mix`` bridge goes by.

    Args:
        steps: ``step`` = it grows with every step, from 0 at the first to 1 at the last; ``epoch``
            = it is constant within an epoch, 1 / epochs in the first and 1 in the last (the
            authors' code).
        epoch, batch: where the training is, counted from 0.
        epochs, batches: how many epochs there are, and batches in one epoch.

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
        FloatingPointError: the loss is no finite number; no parameter has changed.
    """
    if trainer.scaler is None:
        trainer.model_backward_and_update(loss)
        return
    trainer.detect_anomaly(loss)
    trainer.optim.zero_grad()
    trainer.scaler.scale(loss).backward()
    trainer.scaler.step(trainer.optim)
    trainer.scaler.update()


def log_values(
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
    values = {name: value.item() for name, value in losses.items()}
    if options.bridge == "mix":
        values["mix_weight"] = mix_weight(progress, options.mix_start, options.mix_max)
    correct = logits.detach().argmax(1) == labels
    return {**values, "acc": 100 * correct.float().mean().item()}
