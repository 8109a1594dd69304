"""The keys of `cfg.TRAINER.LOREAL`: the config node, presets filled in, checks.

A key that a preset sets starts as None in the yacs node, which reads "what the preset says"; a
value given in a YAML or on the command line wins over the preset.
"""

from __future__ import annotations

from dataclasses import Field, asdict, fields
from typing import Any

from loreal_plugin.errors import ConfigError, unknown_name
from loreal_plugin.option_keys import (
    ADAPTATION,
    INFERENCE_ONLY,
    SLOT_PARTS,
    WITH_CONTENTS,
    WITH_WORDS,
    LorealOptions,
)
from loreal_plugin.presets import PAPER, PRESETS

__all__ = [
    "ADAPTATION",
    "INFERENCE_ONLY",
    "SLOT_PARTS",
    "WITH_CONTENTS",
    "WITH_WORDS",
    "LOREAL",
    "LorealOptions",
    "add_loreal_node",
    "inference_only",
    "options_dict",
    "position_resampling",
    "resolve_options",
]

LOREAL = "TRAINER.LOREAL."  # what the names of the keys begin with in a config


def inference_only(key: str) -> bool:
    """Return whether a config key acts after training alone."""
    return key.removeprefix(LOREAL) in INFERENCE_ONLY and key.startswith(LOREAL)


def add_loreal_node(cfg: Any) -> None:
    """Add the node `cfg.TRAINER.LOREAL` with every key, unless it is already there."""
    from yacs.config import CfgNode  # the method layer must import without yacs

    if "LOREAL" in cfg.TRAINER:
        return
    values = {f.name.upper(): None if f.name in PAPER else f.default for f in fields(LorealOptions)}
    cfg.TRAINER.LOREAL = CfgNode(values)


def resolve_options(node: Any) -> LorealOptions:
    """Return the options of a `cfg.TRAINER.LOREAL` node (or a mapping) with the preset filled in.

    Raises:
        ConfigError: one message with every fault found: unknown key, wrong type, value out of
            range, keys that exclude each other.
    """
    given = {str(k).lower(): v for k, v in dict(node).items()}
    known = {f.name: f for f in fields(LorealOptions)}
    faults = [
        unknown_name("key of TRAINER.LOREAL", k.upper(), [n.upper() for n in known])
        for k in given
        if k not in known
    ]
    preset = given.get("preset") or "default"
    if preset not in PRESETS:
        faults.append(unknown_name("TRAINER.LOREAL.PRESET", str(preset), PRESETS))
    values = {name: f.default for name, f in known.items()} | PRESETS.get(preset, PAPER)
    values |= {k: v for k, v in given.items() if k in known and v is not None}
    for name, spec in known.items():
        values[name], fault = _checked(spec, values[name])
        if fault and not (name == "preset" and preset not in PRESETS):
            faults.append(f"TRAINER.LOREAL.{name.upper()}: {fault}")
    faults += _cross_faults(values)
    if faults:
        raise ConfigError("; ".join(faults))
    return LorealOptions(**values)


def _checked(spec: Field, value: Any) -> tuple[Any, str]:
    """Return the value in the field's type, and what is wrong with it ("" when nothing is)."""
    kind = type(spec.default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        return value, f"wanted {kind.__name__}, got {value!r} ({type(value).__name__})"
    meta = spec.metadata
    if meta["choices"] and value not in meta["choices"]:
        return value, f"{value!r} is none of {', '.join(meta['choices'])}"
    if meta["low"] is not None and not value >= meta["low"]:
        return value, f"{value!r} is below {meta['low']}"
    if meta["high"] is not None and not value <= meta["high"]:
        return value, f"{value!r} is above {meta['high']}"
    if meta["above"] is not None and not value > meta["above"]:
        return value, f"{value!r} is not above {meta['above']}"
    return value, ""


def _cross_faults(values: dict[str, Any]) -> list[str]:
    """Return what is wrong between keys."""
    faults = []
    if values["meta_init"] in ("words", "neutral") and values["meta_bias"] is False:
        faults.append(
            f"META_INIT {values['meta_init']} writes the output bias, so it needs META_BIAS True"
            " (or META_INIT default)"
        )
    if values["constant_conditioning"] is True and values["cache_views"] == 0:
        faults.append(
            "CONSTANT_CONDITIONING needs the training mean before training: set CACHE_VIEWS >= 1"
        )
    return faults


def options_dict(options: LorealOptions) -> dict[str, Any]:
    """Return the options as a plain mapping of upper-case keys, in the order of declaration."""
    return {name.upper(): value for name, value in asdict(options).items()}


def changed_positions(resampling: str) -> dict[str, str]:
    """Return what a key has of POSITION_RESAMPLING: nothing for the value that means what runs did
    before the option came.
    """
    usual = LorealOptions.position_resampling
    return {} if resampling == usual else {"TRAINER.LOREAL.POSITION_RESAMPLING": resampling}


def position_resampling(cfg: Any) -> str:
    """Return POSITION_RESAMPLING of a host's configuration, which a host's own trainer obeys, too.

    Raises:
        ConfigError: a key of its LOREAL node has a fault.
    """
    return resolve_options(cfg.TRAINER.get("LOREAL") or {}).position_resampling
