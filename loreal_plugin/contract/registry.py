"""Which methods have a row, and where the row is: our own, and those of packages from outside.

A package from outside adds a row by an entry point of the group `loreal_plugin.hosts`. Its name is
the method, its object the row's class. A module that is not installed adds rows by the
variable `LOREAL_HOSTS`, which names modules with a tuple `ROWS`. docs/ADD_A_HOST.md has an example.

The names need no torch, so that the command line can list them; a row is imported when it is asked
for.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from loreal_plugin.errors import ConfigError, HostError, unknown_name

if TYPE_CHECKING:
    from loreal_plugin.contract.base import HostContract

GROUP, VARIABLE = "loreal_plugin.hosts", "LOREAL_HOSTS"
OURS = "the package loreal_plugin itself"
# in the order of tables
_OUR_ROWS = {
    "coop": "loreal_plugin.contract.coop:CoOpContract",
    "cocoop": "loreal_plugin.contract.cocoop:CoCoOpContract",
    "ivlp": "loreal_plugin.contract.ivlp:IVLPContract",
    "maple": "loreal_plugin.contract.maple:MaPLeContract",
    "mma": "loreal_plugin.contract.mma:MMAContract",
    "mmrl": "loreal_plugin.contract.mmrl:MMRLContract",
}
# results have zero-shot CLIP under this name
_NO_METHODS = ("clip",)
# its row has `zero_shot_options`, and every host has its trainer
PLAIN_METHOD = "coop"
# what the doctor checks where no method is named
DEFAULT_METHOD = "maple"


@dataclass(frozen=True)
class Source:
    """Where a row comes from: whom to name in an error, and how to get the class."""

    owner: str
    load: Callable[[], Any]

    def loaded(self) -> Any:
        """Return what the source names; HostError where that cannot be imported."""
        try:
            return self.load()
        except Exception as error:  # importing a stranger's module may raise anything
            raise self.broken(f"{type(error).__name__}: {error}") from error

    def broken(self, fault: str) -> HostError:
        """Return the error for a source that cannot be used."""
        return HostError(
            f"{self.owner} brings no usable host row: {' '.join(fault.split())}; mend or uninstall"
            " it (docs/ADD_A_HOST.md)"
        )


class Contracts(Mapping[str, "HostContract"]):
    """Method -> row, in the order of tables; going through the names imports no row of ours."""

    def __getitem__(self, method: str) -> HostContract:
        """Return the row of a method; HostError where its package is broken."""
        return _row(method, _known()[method])

    def __iter__(self) -> Iterator[str]:
        """Go through the methods' names; HostError where two rows have one name."""
        return iter(_known())

    def __contains__(self, method: object) -> bool:
        """Return whether a method has a row, without importing it."""
        return method in _known()

    def __len__(self) -> int:
        """Return the number of methods."""
        return len(_known())


CONTRACTS = Contracts()


def get_contract(method: str) -> HostContract:
    """Return the row of a method.

    Raises:
        ConfigError: no row has that name; the nearest known one is offered.
        HostError: the package that the row comes from is broken.
    """
    if method not in CONTRACTS:
        raise ConfigError(unknown_name("method", method, CONTRACTS))
    return CONTRACTS[method]


def contract_of(trainer: type) -> HostContract:
    """Return the row of a trainer's class: of the nearest base that a row names.

    Raises:
        ConfigError: no row names any of its bases.
    """
    rows = {row.trainer: row for row in CONTRACTS.values()}
    for base in trainer.__mro__:
        if base.__name__ in rows:
            return rows[base.__name__]
    raise ConfigError(unknown_name("trainer", trainer.__name__, rows))


def rows_from_outside() -> dict[str, str]:
    """Return the methods that other packages brought, each with its package."""
    return {method: one.owner for method, one in _known().items() if one.owner != OURS}


def forget_rows() -> None:
    """Look for rows again when they are next asked for; tests that bring rows need it."""
    _sources.cache_clear()
    _row.cache_clear()


def _known() -> dict[str, Source]:
    """Return method -> source, as LOREAL_HOSTS is now."""
    return _sources(os.environ.get(VARIABLE, ""))


@lru_cache(maxsize=8)
def _sources(variable: str) -> dict[str, Source]:
    """Return method -> source: ours, then installed packages', then those of LOREAL_HOSTS."""
    found = {method: Source(OURS, _loader(place)) for method, place in _OUR_ROWS.items()}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        package = point.dist.name if point.dist is not None else "unknown"
        owner = f"package '{package}' (entry point {point.name} = {point.value})"
        _add(found, point.name, Source(owner, point.load))
    for module in filter(None, (word.strip() for word in variable.split(","))):
        owner = f"module '{module}' ({VARIABLE})"
        for row in Source(owner, partial(_rows_of, module)).loaded():
            _add(found, getattr(row, "method", "(no name)"), Source(owner, partial(_given, row)))
    return found


def _rows_of(module: str) -> tuple[Any, ...]:
    """Return the row classes that a module of LOREAL_HOSTS brings."""
    return tuple(_loader(f"{module}:ROWS")())


def _given(row: Any) -> Any:
    return row


def _loader(place: str) -> Callable[[], Any]:
    """Return a function that imports `module:Class`."""
    module, _, name = place.partition(":")
    return lambda: getattr(importlib.import_module(module), name)


def _add(sources: dict[str, Source], method: str, source: Source) -> None:
    """Add the source of one row; HostError where its name is taken by another."""
    other = sources.setdefault(method, source)
    # an installed package may be named in LOREAL_HOSTS, too
    if other is not source and (other.owner == OURS or other.loaded() != source.loaded()):
        raise HostError(
            f"{source.owner} brings a row for method '{method}', but {other.owner} has one already;"
            " rename the method, or uninstall one of them"
        )


@cache
def _row(method: str, source: Source) -> HostContract:
    """Return the row of a source; HostError where it is none, or says too little."""
    from loreal_plugin.contract.base import HostContract
    from loreal_plugin.contract.facts import missing_facts

    row_class = source.loaded()
    if not (isinstance(row_class, type) and issubclass(row_class, HostContract)):
        raise source.broken(f"{row_class!r} is no subclass of HostContract")
    missing = [*missing_facts(row_class), *sorted(row_class.__abstractmethods__)]
    if missing:
        raise source.broken(f"the row {row_class.__name__} lacks {', '.join(missing)}")
    if row_class.method != method:
        raise source.broken(f"the row {row_class.__name__} is for method '{row_class.method}'")
    if method != method.lower() or method in _NO_METHODS:
        raise source.broken(f"'{method}' is no name for a method: lower case, and not 'clip'")
    if source.owner != OURS:
        _check_trainers(row_class, source)
    return row_class()


def _check_trainers(row_class: type[HostContract], source: Source) -> None:
    """Raise HostError where a row from outside names a trainer that a row of ours names."""
    for ours in (CONTRACTS[method] for method in _OUR_ROWS):
        taken = {ours.trainer, ours.loreal_trainer} & {row_class.trainer, row_class.loreal_trainer}
        if taken:
            raise source.broken(f"trainer '{min(taken)}' has the row '{ours.method}' of {OURS}")
