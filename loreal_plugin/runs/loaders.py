"""A host's test loader, and two that take its place: one with a clock, one without pictures."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from loreal_plugin.config import with_settings
from loreal_plugin.runs.logs import quietly


def host_test_loader(cfg: Any, dataset: Any, size: int) -> Any:
    """Return the host's own test loader over a dataset's test pictures at `size` pixels.

    Args:
        cfg: of the host; its input size is replaced.
    """
    cfg = with_settings(cfg, {"INPUT.SIZE": (size, size)})
    transforms = importlib.import_module("dassl.data.transforms")
    return importlib.import_module("dassl.data.data_manager").build_data_loader(
        cfg,
        data_source=dataset.test,
        batch_size=cfg.DATALOADER.TEST.BATCH_SIZE,
        tfm=quietly(lambda: transforms.build_transform(cfg, is_train=False)),
        is_train=False,
    )


class TimedLoader:
    """A test loader; `add` gets the seconds that each of its batches takes."""

    def __init__(self, loader: Any, add: Callable[[float], None]) -> None:
        self.loader, self.add = loader, add
        self.dataset, self.batch_size = loader.dataset, loader.batch_size

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        start = time.perf_counter()
        for batch in self.loader:
            self.add(time.perf_counter() - start)
            yield batch
            start = time.perf_counter()


class LabelLoader:
    """The batches of a test loader without their pictures.

    `current` is the slice of the dataset that the last batch has.
    """

    def __init__(self, loader: Any) -> None:
        self.dataset, self.batch_size = loader.dataset, loader.batch_size
        self.slices = batch_slices(len(loader.dataset), loader.batch_size)
        self.current = slice(0, 0)

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for part in self.slices:
            self.current = part
            batch = self.dataset.data_source[part]
            yield {
                "img": torch.zeros(len(batch), 0),
                "label": torch.tensor([item.label for item in batch]),
                "domain": torch.tensor([item.domain for item in batch]),
                "impath": [item.impath for item in batch],
            }


def batch_slices(total: int, size: int) -> list[slice]:
    """Return the batches of `total` pictures, the last one incomplete where they do not divide."""
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]
