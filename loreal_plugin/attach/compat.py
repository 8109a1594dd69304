"""What a shim is, and which shims a run may use (`LOREAL_COMPAT`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from loreal_plugin.attach.look import HostLook
from loreal_plugin.errors import ConfigError, unknown_name

Undo = Callable[[], None]


@dataclass(frozen=True)
class Shim:
    """One named repair of a host on today's torch.

    Attributes:
        name: what `LOREAL_COMPAT` calls it.
        why: host, file and the failure without it.
        before_import: probed and applied before anything of the host is imported, else after.
        needed: looks for the cause; the shim is applied only where it is found.
        apply: applies it and returns what takes it back.
    """

    name: str
    why: str
    before_import: bool
    needed: Callable[[HostLook], bool]
    apply: Callable[[HostLook], Undo]


def allowed_names(known: Iterable[str], setting: str | None = None) -> set[str]:
    """Return the shims that may be applied under `LOREAL_COMPAT` (or `setting`).

    `all` or nothing: every one; `none`: not one; `a,b`: only these; `-a,-b`: every one but these.

    Raises:
        ConfigError: an unknown name, or both forms mixed.
    """
    names = set(known)
    text = (os.environ.get("LOREAL_COMPAT", "") if setting is None else setting).strip()
    if text in ("", "all"):
        return names
    if text == "none":
        return set()
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word.lstrip("-") not in names:
            raise ConfigError(f"LOREAL_COMPAT: {unknown_name('shim', word.lstrip('-'), names)}")
    minus = {word[1:] for word in words if word.startswith("-")}
    if minus and len(minus) != len(words):
        raise ConfigError(f"LOREAL_COMPAT='{text}' mixes names to use with names to leave out (-name)")
    return names - minus if minus else set(words)
