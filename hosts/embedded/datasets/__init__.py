"""The datasets of the embedded host; importing this package registers them all.

The public hosts import one module a dataset (`import datasets.caltech101`); that works here too.
"""

from __future__ import annotations

from importlib import import_module

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum

from datasets._plugin import register_plugin_datasets

MODULES = (
    "caltech101",
    "dtd",
    "eurosat",
    "fgvc_aircraft",
    "food101",
    "imagenet",
    "imagenet_a",
    "imagenet_r",
    "imagenet_sketch",
    "imagenetv2",
    "oxford_flowers",
    "oxford_pets",
    "stanford_cars",
    "sun397",
    "ucf101",
)

for _name in MODULES:
    import_module(f"datasets.{_name}")
register_plugin_datasets(DATASET_REGISTRY, DatasetBase, Datum)
