"""Plan files: YAML, checked as a whole before anything runs; every fault is named with its place.

name: phi-sweep               # folder OUT/sweeps/<name>; the file's name where it is left out
include: [other.yaml]         # runs of other plans first; a path beside this file
methods: [coop, maple]        # lists are crossed with each other
phis: [96, 144]
seeds: [1, 2, 3]
runs:                         # blocks with keys as above, which replace those at the top;
                              # one block if left out
  - protocols: [base2new, rivals]
  - protocols: [few_shot]
    shots: [1, 2, 4]
factors: [...]                # ablations, see `loreal_plugin.sweep.factors`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from loreal_plugin.contract import CONTRACTS
from loreal_plugin.errors import ConfigError, unknown_name
from loreal_plugin.paths import bundle_root
from loreal_plugin.results.protocols import ACROSS, BASE2NEW, PROTOCOLS, TRAINED
from loreal_plugin.runs.spec import STAGES
from loreal_plugin.sweep.factors import Factor, read_factors, value_words

# what measures rivals -> the protocol whose stages and test sets it takes
RIVALS = {"rivals" if p == BASE2NEW else f"rivals_{p.name}": p.name for p in TRAINED.values()}
KNOWN = (*(name for name, row in PROTOCOLS.items() if row.script), *RIVALS)  # without `fit`
# key -> (default, kind of a member); a default of None leaves the choice to the run
AXES: dict[str, tuple[tuple[Any, ...], type]] = {
    "protocols": ((BASE2NEW.name,), str),
    "methods": ((), str),
    "datasets": ((None,), str),
    "phis": ((), int),
    "seeds": ((1,), int),
    "shots": ((None,), int),
    "weights": ((None,), str),
    "recipes": ((None,), str),
}
HEAD = ("name", "title", "include", "runs", "factors")
BLOCK = (*AXES, "variants", "until", "targets")


@dataclass(frozen=True)
class Variant:
    """A named set of overrides, as the words KEY VALUE KEY VALUE ..."""

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class BlockPlan:
    """One block of runs.

    Attributes:
        axes: every axis with its values.
        variants: named sets of overrides.
        until: the last stage of what trains; None: all of them.
        targets: datasets that xd and dg test on; empty: those of the source.
    """

    axes: Mapping[str, tuple[Any, ...]]
    variants: tuple[Variant, ...]
    until: str | None = None
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlanFile:
    """A checked plan."""

    name: str
    title: str
    path: Path
    blocks: tuple[BlockPlan, ...]
    factors: tuple[Factor, ...]


def read_plan(text: str | Path) -> PlanFile:
    """Return the plan of a file; a bare name is looked for in `configs/plans/`.

    Raises:
        ConfigError: no such file, no YAML, or anything in it that is unknown or of the wrong form.
    """
    return _read(find_plan(text), ())


def find_plan(text: str | Path) -> Path:
    """Return the path of a plan; ConfigError with the known ones where there is none."""
    path = Path(text).expanduser()
    if path.is_file():
        return path
    folder = bundle_root() / "configs" / "plans"
    shipped = folder / f"{path.name.removesuffix('.yaml')}.yaml"
    if path.parent == Path() and shipped.is_file():
        return shipped
    known = [p.stem for p in folder.glob("*.yaml")]
    raise ConfigError(
        f"no plan '{text}': no such file, and {unknown_name('plan', path.stem, known)}"
    )


def _read(path: Path, above: tuple[Path, ...]) -> PlanFile:
    where = path.name
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"plan {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"plan {path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"plan {path} must be a mapping with keys such as methods, phis and seeds"
        )
    check_keys(content, (*HEAD, *BLOCK), where)
    included = [
        _include(name, path, above)
        for name in _strings(content.get("include", []), f"{where}: include")
    ]
    top = {key: value for key, value in content.items() if key in BLOCK}
    blocks = []
    for i, entry in enumerate(_entries(content, where)):
        blocks.append(_block(top | entry, f"{where}: runs[{i}]"))
        if entry.get("targets") and not _across(blocks[-1]):
            raise _unused_targets(f"{where}: runs[{i}]")
    factors = read_factors(content.get("factors", []), f"{where}: factors")
    for factor in factors:
        variants = tuple(
            Variant(f"{factor.name}: {name}", words) for name, words in factor.variants.items()
        )
        methods = {"methods": list(factor.methods)} if factor.methods else {}
        blocks.append(_block(top | methods, f"{where}: factor {factor.name}", variants))
    if not blocks and not included:
        raise ConfigError(
            f"{where}: nothing to run; give methods and phis, or runs, factors or include"
        )
    if top.get("targets") and not any(map(_across, blocks)):
        raise _unused_targets(where)
    return PlanFile(
        name=_word(content.get("name", path.stem), f"{where}: name"),
        title=str(content.get("title", "")),
        path=path,
        blocks=(*(block for plan in included for block in plan.blocks), *blocks),
        factors=(*(factor for plan in included for factor in plan.factors), *factors),
    )


def _include(name: str, path: Path, above: tuple[Path, ...]) -> PlanFile:
    beside = path.parent / name
    found = beside if beside.is_file() else find_plan(name)
    if found.resolve() in (*above, path.resolve()):
        raise ConfigError(f"{path.name}: include of {name} goes round in a circle")
    return _read(found, (*above, path.resolve()))


def _entries(content: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """Return the entries of `runs`; one empty entry where the top alone is a block."""
    if "runs" not in content:
        alone = "methods" in content or _untrained(_listed(content.get("protocols", ())))
        return [{}] if alone and "factors" not in content else []
    runs = content["runs"]
    if not isinstance(runs, list) or not runs or not all(isinstance(entry, dict) for entry in runs):
        raise ConfigError(f"{where}: runs must be a list of mappings")
    for index, entry in enumerate(runs):
        check_keys(entry, BLOCK, f"{where}: runs[{index}]")
    return runs


def _block(
    given: Mapping[str, Any], where: str, variants: tuple[Variant, ...] | None = None
) -> BlockPlan:
    """Return one block with every axis filled in."""
    axes = {}
    for key, (default, kind) in AXES.items():
        axes[key] = _axis(given[key], kind, f"{where}: {key}") if key in given else default
    for name, known in (("protocols", KNOWN), ("methods", CONTRACTS)):
        for value in axes[name]:
            if value not in known:
                raise ConfigError(f"{where}: {unknown_name(name.removesuffix('s'), value, known)}")
    if not axes["phis"] or (
        not axes["methods"] and len(_untrained(axes["protocols"])) < len(axes["protocols"])
    ):
        missing = "phis" if not axes["phis"] else "methods"
        raise ConfigError(
            f"{where}: {missing} is missing; write for example {missing}: "
            f"{'[96]' if missing == 'phis' else '[maple]'}"
        )
    until = given.get("until")
    if until is not None and until not in STAGES:
        raise ConfigError(f"{where}: {unknown_name('stage in until', str(until), STAGES)}")
    named = variants or _variants(given.get("variants", {"": {}}), f"{where}: variants")
    return BlockPlan(
        axes, named, until, tuple(_strings(given.get("targets", []), f"{where}: targets"))
    )


def _across(block: BlockPlan) -> bool:
    """Return whether a block has runs that test other datasets than their source."""
    return any(RIVALS.get(name, name) in ACROSS for name in block.axes["protocols"])


def _unused_targets(where: str) -> ConfigError:
    known = ", ".join(name for name in KNOWN if RIVALS.get(name, name) in ACROSS)
    return ConfigError(
        f"{where}: targets are what {known} test on, and there is none of them; leave targets out"
    )


def _untrained(names: Sequence[Any]) -> list[Any]:
    """Return those of the protocols that train nothing, and so need no method."""
    return [name for name in names if name in PROTOCOLS and not PROTOCOLS[name].trains]


def _variants(given: Any, where: str) -> tuple[Variant, ...]:
    if not isinstance(given, dict) or not given:
        raise ConfigError(f"{where} must be a mapping of names to KEY: VALUE mappings")
    return tuple(
        Variant(str(name), value_words(keys, f"{where}: {name}")) for name, keys in given.items()
    )


def check_keys(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Raise ConfigError for a key that is not known, naming the nearest."""
    for key in given:
        if key not in known:
            raise ConfigError(f"{where}: {unknown_name('key', str(key), known)}")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _axis(value: Any, kind: type, where: str) -> tuple[Any, ...]:
    """Return an axis as a tuple without repetitions; a single value stands for a list of one."""
    values = _listed(value)
    good = kind is int and all(
        isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in values
    )
    good = good or (kind is str and all(isinstance(v, str) and v for v in values))
    if not values or not good:
        wanted = "whole numbers of at least 0" if kind is int else "words"
        raise ConfigError(f"{where} must be one or more {wanted}, not {value!r}")
    return tuple(dict.fromkeys(values))


def _strings(value: Any, where: str) -> list[str]:
    return list(_axis(value, str, where)) if value else []


def _word(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value or not all(c.isalnum() or c in "._-" for c in value):
        raise ConfigError(
            f"{where} must be a word of letters, digits, '.', '_' and '-', not {value!r}"
        )
    return value
