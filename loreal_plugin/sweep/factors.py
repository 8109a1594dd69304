"""Ablations in a plan: one factor, its variants, and what the paper claims about them.

factors:
  - name: bridge
    question: whose visual embedding fills whose prompt
    basis: {TRAINER.LOREAL.PRESET: paper}      # what every variant changes from
    variants:
      both directions: {}
      standard to low: {TRAINER.LOREAL.BRIDGE: alpha_to_beta}
    methods: [coop]                            # only these of the plan's; all where it is left out
    claims:
      - {better: both directions, worse: standard to low, published: "HM 71.73 against 68.07"}
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loreal_plugin.errors import ConfigError, LorealError, unknown_name
from loreal_plugin.options import resolve_options

KEYS = ("name", "question", "basis", "methods", "variants", "claims")
CLAIM = ("better", "worse", "published")


@dataclass(frozen=True)
class Claim:
    """One variant is better than another; `published` has the paper's words or numbers."""

    better: str
    worse: str
    published: str


@dataclass(frozen=True)
class Factor:
    """One factor of an ablation.

    Attributes:
        name: of the factor.
        question: what it asks.
        variants: words KEY VALUE ... by name; others are compared with the first one.
        claims: what the paper says about them.
        methods: the only ones that it is for; empty: all of the plan.
    """

    name: str
    question: str
    variants: Mapping[str, tuple[str, ...]]
    claims: tuple[Claim, ...]
    methods: tuple[str, ...] = ()


def read_factors(given: Any, where: str) -> tuple[Factor, ...]:
    """Return the factors of a plan.

    Raises:
        ConfigError: an entry of another form, an unknown key, or a claim about a variant that is
            not there.
    """
    if not isinstance(given, list) or not all(isinstance(entry, dict) for entry in given):
        raise ConfigError(f"{where} must be a list of mappings with {', '.join(KEYS)}")
    factors = tuple(_factor(entry, f"{where}[{index}]") for index, entry in enumerate(given))
    names = [factor.name for factor in factors]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where}: two factors are called '{name}'")
    return factors


def _factor(entry: Mapping[str, Any], where: str) -> Factor:
    for key in entry:
        if key not in KEYS:
            raise ConfigError(f"{where}: {unknown_name('key', str(key), KEYS)}")
    missing = [key for key in ("name", "question", "variants") if not entry.get(key)]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}")
    basis = entry.get("basis", {})
    if not isinstance(basis, dict) or not isinstance(entry["variants"], dict):
        raise ConfigError(f"{where}: basis and variants must be mappings")
    variants = {}
    for name, keys in entry["variants"].items():
        if not isinstance(keys, dict):
            raise ConfigError(
                f"{where}: variant '{name}' must be a mapping of KEY: VALUE ({{}} for no change)"
            )
        variants[str(name)] = value_words(basis | keys, f"{where}: {name}")
    claims = tuple(_claim(claim, variants, f"{where}: claims") for claim in entry.get("claims", []))
    methods = entry.get("methods", [])
    if not isinstance(methods, list):
        raise ConfigError(f"{where}: methods must be a list")
    return Factor(
        str(entry["name"]), str(entry["question"]), variants, claims, tuple(map(str, methods))
    )


def _claim(given: Any, variants: Mapping[str, Any], where: str) -> Claim:
    if not isinstance(given, dict) or set(given) != set(CLAIM):
        raise ConfigError(f"{where}: each one has {', '.join(CLAIM)}")
    for side in ("better", "worse"):
        if str(given[side]) not in variants:
            raise ConfigError(f"{where}: {unknown_name('variant', str(given[side]), variants)}")
    return Claim(*(str(given[key]) for key in CLAIM))


def value_words(keys: Any, where: str) -> tuple[str, ...]:
    """Return a mapping of overrides as the words KEY VALUE ...; keys of TRAINER.LOREAL are checked
    here.

    Raises:
        ConfigError: no mapping, a value that is itself a mapping, or LOREAL options that exclude
            each other.
    """
    if not isinstance(keys, dict):
        raise ConfigError(f"{where} must be a mapping of KEY: VALUE")
    words: list[str] = []
    loreal = {}
    for key, value in keys.items():
        if value is None or isinstance(value, dict):
            raise ConfigError(f"{where}: {key} needs a value")
        words += [str(key), str(value)]
        name = str(key).rpartition(":")[2]
        if name.startswith("TRAINER.LOREAL."):
            loreal[name.removeprefix("TRAINER.LOREAL.")] = _as_read(value)
    try:
        resolve_options(loreal)
    except LorealError as error:
        raise ConfigError(f"{where}: {error}") from error
    return tuple(words)


def _as_read(value: Any) -> Any:
    """Return a value as a run reads its word: yacs takes 1e-3 for a number, YAML for a text."""
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (SyntaxError, ValueError):
        return value
