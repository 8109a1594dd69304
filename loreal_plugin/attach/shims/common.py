"""What the shims share: finding modules, reading what a function names, replacing, restoring."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from loreal_plugin.attach.compat import Undo

_MISSING = object()


def module(name: str) -> Any:
    """Return an imported module, or None."""
    return sys.modules.get(name)


def modules_of(package: str) -> list[ModuleType]:
    """Return the imported modules of a top-level package."""
    return [
        found
        for name, found in list(sys.modules.items())
        if found and name.split(".")[0] == package
    ]


def classes_of(owner: ModuleType) -> list[type]:
    """Return the classes that a module itself defines."""
    return [
        kind
        for kind in vars(owner).values()
        if isinstance(kind, type) and kind.__module__ == owner.__name__
    ]


def classes_in(package: str) -> list[type]:
    """Return the classes that the imported modules of a top-level package define."""
    return [kind for owner in modules_of(package) for kind in classes_of(owner)]


def names_in(function: Any) -> set[str]:
    """Return the names and attributes that a function uses, and those of nested functions."""
    code = _code(function)
    return _names(code) if code is not None else set()


def _code(function: Any) -> CodeType | None:
    """Return the code of a function as its author wrote it, without what shims put around it."""
    return getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None


def _names(code: CodeType) -> set[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
    return found


def numbers_in(function: Any) -> set[int]:
    """Return the whole numbers that a Python function uses, those of nested functions included."""
    return {constant for constant in _constants(_code(function)) if type(constant) is int}


def texts_in(function: Any) -> set[str]:
    """Return the texts that a Python function uses, those of nested functions included."""
    return {constant for constant in _constants(_code(function)) if type(constant) is str}


def _constants(code: CodeType | None) -> list[Any]:
    found = list(code.co_consts) if code is not None else []
    return found + [
        inner for one in found if isinstance(one, CodeType) for inner in _constants(one)
    ]


def tree_of(owner: ModuleType) -> ast.Module:
    """Return a module's source file as a tree; an empty one where it has no file."""
    path = Path(owner.__file__ or "")
    return ast.parse(path.read_text(encoding="utf-8") if path.is_file() else "")


def nodes_of(owner: ModuleType) -> Iterator[ast.AST]:
    """Give every node of a module's source file."""
    yield from ast.walk(tree_of(owner))


def replace(owner: Any, name: str, value: Any) -> Undo:
    """Set an attribute and return what puts the old one back, where it was inherited, too."""
    old = vars(owner).get(name, _MISSING) if isinstance(owner, type) else getattr(owner, name)
    setattr(owner, name, value)
    if old is _MISSING:
        return lambda: delattr(owner, name)
    return lambda: setattr(owner, name, old)


def wrap(owner: Any, name: str, around: Callable[[Callable], Callable]) -> Undo:
    """Replace a function by `around(function)`, under its name and documentation."""
    original = getattr(owner, name)
    return replace(owner, name, functools.wraps(original)(around(original)))


def together(undo: Iterable[Undo]) -> Undo:
    """Return one step that takes back all, the last first."""
    steps = list(undo)

    def take_back() -> None:
        for step in reversed(steps):
            step()

    return take_back
