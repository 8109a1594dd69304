"""Building a dataset of the embedded host in a test."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

EMBEDDED = Path(__file__).resolve().parents[1] / "hosts" / "embedded"


def use_embedded_host() -> None:
    """Put the embedded host first on `sys.path`, as its own `train.py` finds it."""
    if str(EMBEDDED) not in sys.path:
        sys.path.insert(0, str(EMBEDDED))


def dataset_cfg(
    root: Path | str, *, shots: int = -1, seed: int = 1, subsample: str = "all", folder: str = ""
) -> CfgNode:
    """Return the part of a host's config that datasets read."""
    keys = {"ROOT": str(root), "NUM_SHOTS": shots, "SUBSAMPLE_CLASSES": subsample, "FOLDER": folder}
    return CfgNode({"SEED": seed, "DATASET": keys})


def build(name: str, root: Path | str, **settings: Any) -> Any:
    """Return the dataset registered under `name`, built with `dataset_cfg(root, **settings)`."""
    use_embedded_host()
    import datasets  # noqa: F401  (registers)
    from dassl.data.datasets import DATASET_REGISTRY

    return DATASET_REGISTRY.get(name)(dataset_cfg(root, **settings))


def rows(items: list[Any]) -> list[tuple[str, int, str]]:
    """Return a host's records as plain tuples."""
    return [(item.impath, item.label, item.classname) for item in items]
