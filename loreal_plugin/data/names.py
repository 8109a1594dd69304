"""From the dataset's name on a command line to its configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from loreal_plugin.data.items import folder_content, sub_folders
from loreal_plugin.errors import DataError, unknown_name
from loreal_plugin.paths import bundle_root

FOLDER_CONFIG = "folder"


class DatasetChoice(NamedTuple):
    """What a dataset name stands for: the dataset YAML and the `KEY VALUE` options with it."""

    config: Path
    options: list[str]


def add_data_keys(cfg: Any) -> None:
    """Add the keys of the plug-in's own datasets to a default config; twice does no harm."""
    if "FOLDER" not in cfg.DATASET:
        cfg.DATASET.FOLDER = ""


def data_root(root: str) -> Path:
    """Return the folder that holds the datasets.

    Raises:
        DataError: it is not given, or is no folder.
    """
    if not root:
        raise DataError(
            "DATA (DATASET.ROOT, --root) is not set; set it to the folder that holds the datasets"
        )
    path = Path(os.path.abspath(os.path.expanduser(root)))
    if not path.is_dir():
        raise DataError(
            f"DATA (DATASET.ROOT, --root) is {path}, which is no folder; set it to the datasets'"
            " folder"
        )
    return path


def dataset_config(name: str, root: str = "") -> DatasetChoice:
    """Return YAML and options of a dataset: a file of `configs/datasets/`, or a folder in `root`.

    A YAML wins over a folder of the same name, so `caltech101` always means the benchmark. The YAML
    `folder` itself is no dataset: it needs the name of a folder.

    Raises:
        DataError: `name` is neither; offers the nearest name.
    """
    configs = bundle_root() / "configs" / "datasets"
    known = sorted(path.stem for path in configs.glob("*.yaml") if path.stem != FOLDER_CONFIG)
    if name in known:
        return DatasetChoice(configs / f"{name}.yaml", [])
    folders = sub_folders(data_root(root)) if root else []
    if name in folders:
        return DatasetChoice(configs / f"{FOLDER_CONFIG}.yaml", ["DATASET.FOLDER", name])
    where = folder_content(data_root(root)) if root else "DATA is not set"
    raise DataError(
        f"{unknown_name('dataset', name, known)}; nor is it a folder per class under DATA: {where}"
    )
