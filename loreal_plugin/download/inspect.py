"""What of a dataset lies below DATA, read by the embedded host's own loaders; nothing is written.

The embedded host knows every layout of the family (docs/DATASETS.md), so it is attached for this,
whatever host is used otherwise, and detached again.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loreal_plugin.attach import attach_host, detach_host
from loreal_plugin.contract import PLAIN_METHOD
from loreal_plugin.data import dataset_config
from loreal_plugin.data.storage import saves_held_back
from loreal_plugin.errors import LorealError, one_line
from loreal_plugin.paths import embedded_host
from loreal_plugin.plain_output import counted


@dataclass(frozen=True)
class Inspection:
    """What was found of a dataset.

    Attributes:
        fault: why it cannot be used; empty: it can.
        classes: how many.
        parts: pictures in train, val and test.
        pictures: how many there are in all parts together.
        split: where the family's split file belongs; None: the dataset has none.
        names: of the classes.
    """

    fault: str = ""
    classes: int = 0
    parts: tuple[int, int, int] = (0, 0, 0)
    pictures: int = 0
    split: Path | None = None
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.fault:
            return f"missing: {self.fault}"
        counts = zip(("train", "val", "test"), self.parts, strict=True)
        parts = ", ".join(f"{part} {count}" for part, count in counts)
        return f"{counted(self.classes, 'class')}, {counted(self.pictures, 'image')} ({parts})"


class Inspector:
    """Looks at datasets below DATA, while the embedded host is attached."""

    def __init__(self, host: Any, data: Path) -> None:
        self._host, self._data = host, data

    def layout(self, name: str) -> Any:
        """Return the class that knows a benchmark's `dataset_dir`, `image_folder`, `split_file`."""
        registry = importlib.import_module("dassl.data.datasets").DATASET_REGISTRY
        config = str(dataset_config(name).config)
        return registry.get(self._host.setup_cfg(["--dataset-config-file", config]).DATASET.NAME)

    def inspect(self, name: str, *, own_folder: bool = False) -> Inspection:
        """Return classes and pictures of a dataset, or what is missing of it.

        Args:
            own_folder: `name` is a folder of one's own, not a benchmark.
        """
        choice = dataset_config(name, str(self._data) if own_folder else "")
        options = ["DATASET.FOLDER", repr(name)] if own_folder else choice.options
        return self._counted(choice.config, [*options, "DATASET.NUM_SHOTS", "0"])

    def _counted(self, config: Path, options: Sequence[str]) -> Inspection:
        module = importlib.import_module("dassl.data.datasets")
        words = ["--root", str(self._data), "--dataset-config-file", str(config), *options]
        try:
            with redirect_stdout(io.StringIO()), saves_held_back():
                found = module.build_dataset(self._host.setup_cfg(words))
        except (LorealError, OSError, ValueError) as error:
            return Inspection(one_line(error))
        parts = found.train_x, found.val or [], found.test
        total = len({item.impath for items in parts for item in items})
        train, val, test = (len(items) for items in parts)
        split = found.dataset_dir / found.split_file if found.split_file else None
        names = tuple(found.classnames)
        return Inspection("", found.num_classes, (train, val, test), total, split, names)


@contextmanager
def inspecting(data: Path) -> Iterator[Inspector]:
    """Yield an inspector of the datasets below `data`."""
    host = attach_host(embedded_host(), PLAIN_METHOD)
    try:
        yield Inspector(host, data)
    finally:
        detach_host()
