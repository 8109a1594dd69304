"""Attaching a host: inspect, check, then act; it can be undone, and nothing is written to disk."""

from __future__ import annotations

import atexit
import importlib
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from loreal_plugin.attach.arguments import family_parser
from loreal_plugin.attach.clip_source import ClipSource
from loreal_plugin.attach.compat import LIST, ShimFacts, allowed_names, setting_of
from loreal_plugin.attach.imports import (
    imports_from,
    plugin_image_reader,
    plugin_keys,
    plugin_trainers,
    register_datasets,
)
from loreal_plugin.attach.inspect_host import (
    HostInspection,
    inspect_host,
    methods_of,
    revision_of,
    sources_digest,
)
from loreal_plugin.attach.shims import ALL_FACTS, LOADER_FACTS, SHIMS
from loreal_plugin.attach.value_types import numbers_that_fit, undeclared_keys_named
from loreal_plugin.contract import HostContract, get_contract
from loreal_plugin.contract.part_checks import raise_for_missing
from loreal_plugin.errors import ConfigError, HostError, LorealError, unknown_name
from loreal_plugin.paths import embedded_host
from loreal_plugin.weights.package import pkg_resources_with_packaging


@dataclass
class _Session:
    """The one host of this process."""

    inspection: HostInspection
    revision: str
    clips: ClipSource
    shims: list[str] = field(default_factory=list)
    # shims that this host needs and that LOREAL_COMPAT switches off
    refused: list[str] = field(default_factory=list)
    undo: ExitStack = field(default_factory=ExitStack)
    # (method, Dassl checkout) pairs that were inspected without a fault
    methods: set[tuple[str, Path | None]] = field(default_factory=set)


_session: _Session | None = None


@dataclass(frozen=True)
class AttachedHost:
    """An attached host, seen for one method.

    Attributes:
        path: the checkout.
        contract: of the method.
        train: the host's `train` module.
        trainer_class: the host's trainer.
        trainers_module: the module that defines it.
        shims: names of the repairs that were needed.
        revision: hash of the host's sources.
        clips: what serves the host's CLIP.
    """

    path: Path
    contract: HostContract
    train: ModuleType
    trainer_class: type
    trainers_module: ModuleType
    shims: tuple[str, ...]
    revision: str
    clips: ClipSource

    @property
    def clip_version(self) -> str:
        """The CLIP package that builds the models, the host's or an installed one: its hash."""
        return sources_digest(Path(sys.modules["clip"].__file__).parent)

    @property
    def sources(self) -> dict[str, Any]:
        """The code that builds the models: for caches on this machine."""
        return {"host": self.revision, "shims": list(self.shims), "clip": self.clip_version}

    @property
    def code(self) -> dict[str, Any]:
        """The same for what travels with a run: the embedded host is the project's, which says by
        the keys of stages when results change.
        """
        return {"host": "embedded"} if self.path == embedded_host() else self.sources

    @property
    def tokenize(self) -> Callable[..., Any]:
        """CLIP's tokenizer as the host uses it."""
        return sys.modules["clip"].tokenize

    def setup_cfg(self, argv: list[str]) -> Any:
        """Return the host's configuration for a command line of the family's `train.py`.

        Raises:
            ConfigError: the command line has an argument that the family does not know, or it or a
                recipe has a key that the host does not declare.
        """
        with undeclared_keys_named():
            return self.train.setup_cfg(family_parser().parse_args(argv))

    def build_trainer(self, cfg: Any) -> Any:
        """Build the trainer that `cfg.TRAINER.NAME` names; errors as for `trainer_named`."""
        self.trainer_named(cfg.TRAINER.NAME)
        return importlib.import_module("dassl.engine").build_trainer(cfg)

    def trainer_named(self, name: str) -> Any:
        """Return a registered trainer class: the host's, or ours on top of it.

        Raises:
            ConfigError: the host has no such trainer.
        """
        if name == self.contract.loreal_trainer:
            importlib.import_module(self.contract.loreal_module)
        registry = importlib.import_module("dassl.engine").TRAINER_REGISTRY
        known = registry.registered_names()
        if name not in known:
            raise ConfigError(unknown_name("trainer", name, known))
        return registry.get(name)


def attach_host(path: str | Path, method: str, *, dassl: str | Path | None = None) -> AttachedHost:
    """Make a host importable, repaired and extended; attaching the same host again changes nothing.

    Args:
        path: a checkout, or the embedded host.
        method: a name of `loreal_plugin.contract.CONTRACTS`.
        dassl: a Dassl checkout; None means inside the host, then `DASSL`, then an installed one.

    Raises:
        ConfigError: unknown method or shim.
        HostError: the folder does not answer the contract (every mismatch is listed), its modules
            do not import, or another host is attached in this process. Then nothing has changed.
    """
    global _session
    contract = get_contract(method)
    path = Path(path).expanduser().resolve()
    if _session is not None and _session.inspection.path != path:
        there = _session.inspection.path
        raise HostError(
            f"host {path} was asked for, but {there} is attached in this process; hosts share"
            " module names (trainers, datasets, clip): use one process a host"
        )
    allowed = allowed_names(facts.name for facts in ALL_FACTS)
    asked = method, Path(dassl) if dassl else None
    if _session is not None and asked in _session.methods:
        return _attached(_session, contract)
    inspection = inspect_host(path, contract, asked[1])
    if any(not check.ok for check in inspection.checks):
        advice = f"methods found there: {', '.join(methods_of(path)) or 'none'}; see docs/HOSTS.md"
        if contract.repositories:
            advice += f" (set HOST to a checkout of {' or '.join(contract.repositories)})"
        raise_for_missing(inspection.checks, f"host '{path.name}', method '{method}',", advice)
    if _session is None:
        _session = _start_session(inspection, allowed)
        if setting_of() == LIST:
            print(format_shims(describe_shims()), flush=True)
        if _session.refused:
            print(f"warning: {_switched_off(_session)}", file=sys.stderr, flush=True)
    _session.methods.add(asked)
    return _attached(_session, contract)


@dataclass(frozen=True)
class ShimState:
    """A repair and its state: `applied`, `not needed`, `switched off`, or `known` (no host yet)."""

    facts: ShimFacts
    state: str


def describe_shims() -> list[ShimState]:
    """Return every repair there is, with its state on the host that is attached, if one is.

    The three of the CLIP loader count as applied wherever they are allowed: each load looks for its
    cause.

    Raises:
        ConfigError: `LOREAL_COMPAT` names an unknown one.
    """
    allowed = allowed_names(facts.name for facts in ALL_FACTS)
    applied = {facts.name for facts in LOADER_FACTS} | set(_session.shims if _session else ())

    def state(name: str) -> str:
        if name not in allowed:
            return "switched off"
        if _session is None:
            return "known"
        return "applied" if name in applied else "not needed"

    return [ShimState(facts, state(facts.name)) for facts in ALL_FACTS]


def format_shims(states: Iterable[ShimState]) -> str:
    """Return the repairs as lines of text: name, state, host and place, since when, and why."""
    lines = ["repairs of the host (LOREAL_COMPAT=none, =a,b or =-a,-b switches them):"]
    for one in states:
        facts = one.facts
        lines.append(
            f"  {facts.name:<12} {one.state:<12} {facts.host}: {facts.where}; since: {facts.since}"
        )
        lines.append(f"  {'':<25} {facts.why}")
    return "\n".join(lines)


def detach_host() -> None:
    """Undo `attach_host`: paths, modules, shims and loaders are as before."""
    global _session
    if _session is not None:
        session, _session = _session, None
        atexit.unregister(detach_host)
        session.undo.close()


def _start_session(inspection: HostInspection, allowed: set[str]) -> _Session:
    """Import the host with everything in place; where that fails, leave no trace."""
    session = _Session(inspection, revision_of(inspection), clips=ClipSource(allowed))
    with ExitStack() as undo:
        undo.enter_context(imports_from(inspection))
        undo.callback(session.clips.close)
        try:
            _apply_shims(session, undo, allowed, before_import=True)
            undo.enter_context(numbers_that_fit())
            with_keys = undo.enter_context(plugin_keys())
            with pkg_resources_with_packaging():  # checkouts have a clip of their own
                importlib.import_module("train")
                importlib.import_module("clip")
            with_keys(sys.modules["train"])
        except LorealError:
            raise
        except ImportError as error:
            raise HostError(
                f"host '{inspection.path.name}' cannot be imported: {error}; "
                + (_switched_off(session) or f"install the missing package into {sys.executable}")
            ) from error
        except Exception as error:  # a host's module level is a stranger's code
            what = "; ".join(
                filter(None, (f"{type(error).__name__}: {error}", _switched_off(session)))
            )
            raise HostError(f"host '{inspection.path.name}' fails on import: {what}") from error
        undo.enter_context(plugin_trainers())
        register_datasets()
        undo.enter_context(plugin_image_reader(inspection))
        _apply_shims(session, undo, allowed, before_import=False)
        session.undo = undo.pop_all()
    atexit.register(detach_host)
    return session


def _attached(session: _Session, contract: HostContract) -> AttachedHost:
    module = importlib.import_module(f"trainers.{contract.module}")
    for name, found in list(sys.modules.items()):
        if name.startswith("trainers."):
            session.clips.wrap(found)
    return AttachedHost(
        path=session.inspection.path,
        contract=contract,
        train=sys.modules["train"],
        trainer_class=getattr(module, contract.trainer),
        trainers_module=module,
        shims=tuple(session.shims),
        revision=session.revision,
        clips=session.clips,
    )


def _apply_shims(
    session: _Session, undo: ExitStack, allowed: set[str], *, before_import: bool
) -> None:
    for shim in SHIMS:
        if shim.before_import != before_import or not shim.needed(session.inspection):
            continue
        if shim.name in allowed:
            undo.callback(shim.apply(session.inspection))
            session.shims.append(shim.name)
        else:
            session.refused.append(shim.name)


def _switched_off(session: _Session) -> str:
    """Return which repairs the host lacks because of `LOREAL_COMPAT`, "" where there are none."""
    if not session.refused:
        return ""
    return (
        f"LOREAL_COMPAT={setting_of()} switches off what this host needs:"
        f" {', '.join(session.refused)}"
    )
