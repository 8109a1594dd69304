"""What a source file of a host has at its top, read without importing it; once a version."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One `import` or `from ... import` at the top of a file.

    Attributes:
        module: dotted name; empty in `from . import names`.
        names: what is taken from it; none where the module itself is imported.
        level: number of leading dots.
    """

    module: str
    names: tuple[str, ...] = ()
    level: int = 0


@dataclass(frozen=True)
class TopLevel:
    """The top of a source file: names that are defined or imported there, and its imports."""

    names: frozenset[str]
    imports: tuple[Import, ...]


def top_of(file: Path) -> TopLevel:
    """Return the top of a source file as it is now.

    A host has some fifty files and is looked at each time it is attached, so what was read stays
    until the file changes.

    Raises:
        OSError: there is no such file, or it cannot be opened.
        SyntaxError, UnicodeDecodeError: it is no Python.
    """
    stat = file.stat()
    return _top_of(file, (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


@lru_cache(maxsize=1024)
def _top_of(file: Path, stamp: tuple[int, ...]) -> TopLevel:
    """`stamp` changes with the file, so that a replaced file is read again."""
    names: set[str] = set()
    imports: list[Import] = []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {item.asname or item.name for item in node.names}
            imports += _imports_of(node)
    return TopLevel(frozenset(names), tuple(imports))


def _imports_of(node: ast.Import | ast.ImportFrom) -> list[Import]:
    taken = tuple(alias.name for alias in node.names)
    if isinstance(node, ast.Import):
        return [Import(name) for name in taken]
    return [Import(node.module or "", taken, node.level)]
