"""A host's configuration: copies with other settings, and all keys in one mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def with_settings(cfg: Any, settings: Mapping[str, Any]) -> Any:
    """Return a frozen copy of a yacs configuration with other values.

    Args:
        settings: `{"A.B.C": value}` of keys that are there. A list takes the place of a tuple as a
            tuple: JSON, where recorded values come from, has no tuples.

    Raises:
        KeyError: the configuration has no such key.
    """
    cfg = cfg.clone()
    cfg.defrost()
    for key, value in settings.items():
        *parents, name = key.split(".")
        node = cfg
        for parent in parents:
            node = node[parent]
        to_tuple = isinstance(node[name], tuple) and isinstance(value, list)
        node[name] = tuple(value) if to_tuple else value
    cfg.freeze()
    return cfg


def flatten(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a config node as `{"A.B.C": value}` with tuples as lists."""
    flat: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = list(value) if isinstance(value, tuple) else value
    return flat


def is_method_key(key: str, node: str | None) -> bool:
    """Return whether a flat key is one of a method's node under TRAINER.

    Args:
        node: None stands for every node but LOREAL's: which ones a stranger's trainer reads is not
            known.
    """
    if node is not None:
        return key.startswith(f"TRAINER.{node}.")
    return key.startswith("TRAINER.") and not key.startswith(("TRAINER.LOREAL.", "TRAINER.NAME"))


def method_settings(cfg: Any, node: str | None) -> dict[str, Any]:
    """Return the settings of a method's node, flat; `node` as for `is_method_key`."""
    if node is not None:
        return flatten(cfg.TRAINER[node])
    return {key: value for key, value in flatten(cfg).items() if is_method_key(key, None)}
