"""What stage 3's settings say of a whole run: how positions are resampled, what is adapted."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from loreal_plugin.contract import get_contract
from loreal_plugin.options import LOREAL, resolve_options
from loreal_plugin.runs.spec import RunSpec

RESAMPLING = "POSITION_RESAMPLING"


def resampling_of(spec: RunSpec) -> str:
    """Return how a run resamples the image positional embedding for phi.

    It is what stage 3's recipe says, or the command line, or their preset. Host stages see no other
    LOREAL key, but beta must be trained with the positions that it has in stage 3.

    Raises:
        ConfigError: there is no such recipe, preset or resampling.
    """
    return resolve_options(_given(spec, "loreal", RESAMPLING)).position_resampling


def adapts(spec: RunSpec) -> bool:
    """Return whether a run has the stages of the adapted image side (key ADAPT)."""
    return resolve_options(_given(spec, "adapt", "ADAPT")).adapt != "none"


def _given(spec: RunSpec, stage: str, key: str) -> dict[str, Any]:
    """Return the preset and a key as recipe and command line give them to a stage."""
    recipe = get_contract(spec.method).recipe_file(spec.recipe, loreal=True)
    node = _recipe_node(recipe, recipe.stat().st_mtime_ns)
    wanted = ("PRESET", key)
    given = {name: node[name] for name in wanted if node.get(name)}
    for one in spec.overrides_for(stage):
        name = one.key.removeprefix(LOREAL)
        if one.key.startswith(LOREAL) and name in wanted:
            given[name] = _plain(one.value)
    return given


@lru_cache
def _recipe_node(path: Path, _mtime: int) -> dict[str, Any]:
    """Return the LOREAL node of a recipe as it stands in the file."""
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return (content.get("TRAINER") or {}).get("LOREAL") or {}


def _plain(text: str) -> str:
    """Return a value of the command line without quotes, as yacs reads it."""
    try:
        return str(ast.literal_eval(text))
    except (SyntaxError, ValueError):
        return text
