"""Stage identity: one hash of everything that can change what a stage produces."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from loreal_plugin.config import flatten, is_method_key
from loreal_plugin.files import digest
from loreal_plugin.options import (
    ADAPTATION,
    LOREAL,
    LorealOptions,
    inference_only,
    options_dict,
)

# Raise it by one in the same commit as any change of code after which the same configuration, seed
# and pictures give other numbers: the embedded host's trainers, datasets or transforms, the method,
# the views, the demo's pictures or loss. Every stage is then run again. New keys, log lines and
# faster code with equal results need nothing.
METHOD_VERSION = 1

# places and print-outs: the same run in another folder, or with more log lines, is the same run
VOLATILE = frozenset(
    {
        "OUTPUT_DIR",
        "RESUME",
        "VERBOSE",
        "DATASET.ROOT",
        "TRAIN.PRINT_FREQ",
        "TRAIN.CHECKPOINT_FREQ",
        "TRAINER.LOREAL.ALPHA_DIR",
        "TRAINER.LOREAL.BETA_DIR",
        "TRAINER.LOREAL.ADAPT_DIR",
        "TRAINER.LOREAL.CACHE_DIR",
        "TRAINER.LOREAL.ATTRIBUTES",  # a name or path; the words themselves are in the key
        "MODEL.BACKBONE.NAME",  # a name or path; the weights' own hash is in the key
    }
)


# keys that came after runs had been made: left out of a key where their value says "as before"
LATER = {
    f"{LOREAL}{spec.name.upper()}": spec.default
    for spec in fields(LorealOptions)
    if spec.metadata["later"]
}
# values that mean something else since runs were made with them: key -> value -> what a key has
# instead
REVISED: dict[str, dict[Any, str]] = {
    f"{LOREAL}DRIFT": {"ridge": "towards the identity, one standard error"},
    f"{LOREAL}MIX_START": {0.0: "at its maximum from the first step"},
}


def stage_config(cfg: Mapping[str, Any], *, host_node: str | None, loreal: bool) -> dict[str, Any]:
    """Return the resolved settings that can change what a stage trains, flat.

    Args:
        host_node: the method's own node under TRAINER, e.g. `MAPLE`; other methods' nodes are left
            out; None: all nodes count.
        loreal: True for stage 3; the host stages know no LOREAL key.
    """
    # an adaptation is a parent of the stage that uses it, and nothing to others
    unused = {f"{LOREAL}{name}" for name in ADAPTATION}
    ours = ("TRAINER.LOREAL.",) if loreal else ()

    def counts(key: str) -> bool:
        if key in VOLATILE or key in unused or inference_only(key):
            return False
        if not key.startswith("TRAINER.") or key == "TRAINER.NAME":
            return True
        return is_method_key(key, host_node) or key.startswith(ours)

    return {
        key: value
        for key, value in flatten(cfg).items()
        if counts(key) and LATER.get(key, ...) != value
    }


def preset_filled(config: Mapping[str, Any], options: LorealOptions) -> dict[str, Any]:
    """Return a config with the resolved options in place of those of its LOREAL node.

    Options of `LATER` are left out where they say "as before", by themselves or by a preset.
    """
    filled = {f"{LOREAL}{key}": value for key, value in options_dict(options).items()}
    found = {key: filled.get(key, value) for key, value in config.items()}
    return {key: value for key, value in found.items() if LATER.get(key, ...) != value}


def as_meant(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config for a key: a value whose meaning has changed (`REVISED`) is replaced by words
    for what it means now.
    """
    return {
        key: REVISED[key].get(value, value) if key in REVISED else value
        for key, value in config.items()
    }


def stage_key(
    config: Mapping[str, Any],
    *,
    weights: str,
    images: str,
    host: str,
    parents: Mapping[str, str] | None = None,
    attributes: Any = None,
) -> str:
    """Return the key of a stage.

    Args:
        config: from `stage_config` (it holds the seed, the shots and the input size).
        weights: fingerprint of the CLIP weights.
        images: from `images_digest`.
        host: identity of the host's code.
        parents: keys of the stages this one builds on.
        attributes: the attribute words in use (stage 3).
    """
    return digest(
        {
            "method_version": METHOD_VERSION,
            "config": dict(config),
            "weights": weights,
            "images": images,
            "host": host,
            "parents": dict(parents or {}),
            "attributes": attributes,
        }
    )


def dataset_items(dataset: Any) -> dict[str, list[Any]]:
    """Return the items (`impath`, `label`, `classname`) of a Dassl dataset by part."""
    return {name: list(getattr(dataset, name) or []) for name in ("train_x", "val", "test")}


def images_digest(dataset: Any, sha256: Callable[[str], str]) -> str:
    """Return the hash of a dataset's image list: part, path below the common folder, label, class
    name, contents.

    Args:
        dataset: a Dassl dataset.
        sha256: path -> hash of the file's contents.
    """
    splits = dataset_items(dataset)
    paths = [item.impath for items in splits.values() for item in items]
    root = os.path.commonpath([os.path.dirname(p) for p in paths]) if paths else ""
    rows = [
        [
            name,
            Path(os.path.relpath(item.impath, root)).as_posix(),
            item.label,
            item.classname,
            sha256(item.impath),
        ]
        for name, items in splits.items()
        for item in items
    ]
    return digest(rows)
