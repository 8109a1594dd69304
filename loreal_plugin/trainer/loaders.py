"""Training batches of stage 3: pictures seen twice, or their cached embeddings; both in the same
order.

The order of an epoch and its views are functions of (seed, epoch) alone, so that a resumed run goes
on as an uninterrupted one, and a run that caches sees what one that does not cache sees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from loreal_plugin.method.correction import Correction
from loreal_plugin.students.views import PairedViews


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
        # As the family's loader does: an incomplete last batch is left out unless it is the only
        # one.
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

    def correct_beta(self, drift: Correction) -> None:
        """Replace beta's embeddings by their corrected ones."""
        self.beta = drift(self.beta.flatten(0, 1)).unflatten(0, self.beta.shape[:2])

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
