"""What a shim is, and which shims a run may use (`LOREAL_COMPAT`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from loreal_plugin.attach.inspect_host import HostInspection
from loreal_plugin.errors import ConfigError, unknown_name

Undo = Callable[[], None]
LIST = "list"  # LOREAL_COMPAT=list prints the table and applies what `all` does


@dataclass(frozen=True)
class ShimFacts:
    """What is known of a repair.

    Attributes:
        name: what `LOREAL_COMPAT` calls it.
        host: the repositories that need it.
        where: file and line of the cause.
        since: from which version on, of what, or `always`.
        why: the failure without it.
    """

    name: str
    host: str
    where: str
    since: str
    why: str


@dataclass(frozen=True)
class Shim:
    """One named repair of a host on today's torch.

    Attributes:
        facts: name, host, place and cause.
        needed: looks for the cause; the shim is applied only where it is found.
        apply: applies it and returns what takes it back.
        before_import: probed and applied before anything of the host is imported, else after.
    """

    facts: ShimFacts
    needed: Callable[[HostInspection], bool]
    apply: Callable[[HostInspection], Undo]
    before_import: bool = False

    @property
    def name(self) -> str:
        """Return what `LOREAL_COMPAT` calls it."""
        return self.facts.name


def setting_of(setting: str | None = None) -> str:
    """Return `LOREAL_COMPAT` (or `setting`) without spaces around it."""
    return (os.environ.get("LOREAL_COMPAT", "") if setting is None else setting).strip()


def allowed_names(known: Iterable[str], setting: str | None = None) -> set[str]:
    """Return the shims that may be applied under `LOREAL_COMPAT` (or `setting`).

    `all`, `list` or nothing: every one; `none`: not one; `a,b`: only these; `-a,-b`: every one but
    these.

    Raises:
        ConfigError: an unknown name, or both forms mixed.
    """
    names = set(known)
    text = setting_of(setting)
    if text in ("", "all", LIST):
        return names
    if text == "none":
        return set()
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word.lstrip("-") not in names:
            raise ConfigError(f"LOREAL_COMPAT: {unknown_name('shim', word.lstrip('-'), names)}")
    minus = {word[1:] for word in words if word.startswith("-")}
    if minus and len(minus) != len(words):
        raise ConfigError(
            f"LOREAL_COMPAT='{text}' mixes names to use with names to leave out (-name)"
        )
    return names - minus if minus else set(words)


class ModuleProxy(ModuleType):
    """A module that answers as another one, but for the names that are set on it."""

    def __init__(self, original: Any, **own: Any) -> None:
        super().__init__(getattr(original, "__name__", "proxy"))
        vars(self).update(own)
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)
