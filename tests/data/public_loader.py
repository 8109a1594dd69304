"""Run a public checkout's own dataset loaders and print what they find as JSON; started by a test.

    python public_loader.py <CoOp checkout> <Dassl checkout> <root> <shots> <seed> <subsample>
    <dataset> ...

A process of its own, because the embedded host's `dassl` and `datasets` have the same names.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import types
from pathlib import Path

from yacs.config import CfgNode

MODULES = (
    "caltech101 dtd eurosat fgvc_aircraft food101 imagenet imagenet_a imagenet_r imagenet_sketch"
)
MORE_MODULES = "oxford_flowers oxford_pets stanford_cars sun397 ucf101"


def register(host: str, dassl: str):
    """Return the checkout's registry with its own datasets and the plug-in's."""
    sys.path[:0] = [host, dassl, str(Path(__file__).resolve().parents[2])]
    # Dassl imports these two eagerly; no loader here needs them.
    for absent in ("dassl.data.datasets.dg.wilds", "gdown"):
        sys.modules.setdefault(absent, types.ModuleType(absent))
    for module in f"{MODULES} {MORE_MODULES}".split():
        __import__(f"datasets.{module}")
    from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum

    from loreal_plugin.data import register_plugin_datasets

    register_plugin_datasets(DATASET_REGISTRY, DatasetBase, Datum)
    return DATASET_REGISTRY


def main(
    host: str, dassl: str, root: str, shots: str, seed: str, subsample: str, *names: str
) -> None:
    """Print `{name: {"classnames": ..., "train": rows, "val": rows, "test": rows}}`."""
    found = {}
    with contextlib.redirect_stdout(sys.stderr):
        registry = register(host, dassl)
        keys = {
            "ROOT": root,
            "NUM_SHOTS": int(shots),
            "SUBSAMPLE_CLASSES": subsample,
            "FOLDER": "mine",
        }
        for name in names:
            random.seed(int(seed))
            dataset = registry.get(name)(CfgNode({"SEED": int(seed), "DATASET": keys}))
            found[name] = {"classnames": list(dataset.classnames)}
            for part, items in (
                ("train", dataset.train_x),
                ("val", dataset.val),
                ("test", dataset.test),
            ):
                found[name][part] = [
                    [item.impath, item.label, item.classname] for item in items or []
                ]
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
