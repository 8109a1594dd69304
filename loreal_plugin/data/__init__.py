"""Datasets the plug-in brings along, for the embedded host and for any other Dassl host.

`register_plugin_datasets(registry, dataset_base, datum)` adds these names to a host's dataset
registry:

- `Folder`: a folder per class, for anybody's own pictures:
  `<DATASET.ROOT>/<DATASET.FOLDER>/<class>/*.jpg`;
- `Demo`: the demonstration world, drawn on first use into the cache (`LOREAL_CACHE`), unless
  `<DATASET.ROOT>/demo/images` is there;
- `DemoHeldout`: its base classes on held-out pictures, for choosing settings;
- `DemoFresh`, `DemoSketch` ... (`demo.DEMO_TARGETS`): its target worlds, test-only, drawn on first
  use.

Configuration. `Folder` reads one key that no host has, `DATASET.FOLDER`: the name of the folder
under `DATASET.ROOT`. `add_data_keys(cfg)` adds it (idempotent); whoever makes the default config
calls it: the embedded host's `train.py` in its `extend_cfg`, `loreal_plugin.attach` for every other
host. On a command line:

    --dataset-config-file configs/datasets/folder.yaml ... DATASET.FOLDER my_pictures

A name that is neither a YAML in `configs/datasets/` nor a folder under `DATA` is an error of the
caller; `dataset_config(name, root)` decides this for scripts and for the command line.

Nothing in this package imports `dassl`: host classes come in as arguments. Seeds: a split is drawn
with the fixed `SPLIT_SEED`, few-shot subsets with the run's `SEED`; the global random state is
neither read nor moved.
"""

from __future__ import annotations

from loreal_plugin.data.items import Item
from loreal_plugin.data.names import add_data_keys, dataset_config
from loreal_plugin.data.register import register_plugin_datasets
from loreal_plugin.data.splits import SPLIT_SEED, Split

__all__ = [
    "SPLIT_SEED",
    "Item",
    "Split",
    "add_data_keys",
    "dataset_config",
    "register_plugin_datasets",
]
