"""Registries: from a name in the configuration to a class or function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Registry:
    """A named table of classes or functions, each under its own `__name__`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._entries: dict[str, Any] = {}

    def register(self, obj: Any = None, force: bool = False) -> Callable[[Any], Any] | None:
        """Add `obj`; without it, return a decorator that adds what it decorates.

        Raises:
            KeyError: when the name is taken and `force` is not set.
        """
        if obj is not None:
            self._add(obj, force)
            return None

        def decorator(decorated: Any) -> Any:
            self._add(decorated, force)
            return decorated

        return decorator

    def get(self, name: str) -> Any:
        """Return what is registered under `name`; raise KeyError when nothing is."""
        try:
            return self._entries[name]
        except KeyError:
            known = ", ".join(sorted(self._entries)) or "nothing"
            raise KeyError(
                f"'{name}' is not in the {self._name} registry (registered: {known})"
            ) from None

    def registered_names(self) -> list[str]:
        """Return the names in the order of registration."""
        return list(self._entries)

    def _add(self, obj: Any, force: bool) -> None:
        name = obj.__name__
        if name in self._entries and not force:
            raise KeyError(
                f"'{name}' is already in the {self._name} registry; register(force=True)"
                " replaces it"
            )
        self._entries[name] = obj
