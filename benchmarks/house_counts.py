"""Counts of a source tree: what a traced call visits, sizes, imports between rooms, circles.

A *room* is a folder of the package. A *visit* is a call that enters another file than the call
before it. Nothing here imports the package that is counted, so that any revision can be.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

MAX_LINES, MAX_FUNCTION = 300, 50
Edges = dict[str, set[str]]


# ---- what a call visits --------------------------------------------------------------------------


def traced(action: Callable[[], Any], root: Path) -> list[str]:
    """Return the file of every Python call that `action` makes below `root`, in order.

    Files are named from `root`. Calls elsewhere are left out; what these call back
    below `root` is not.
    """
    prefix, files = f"{root.resolve()}/", []

    def note(frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(prefix):
            files.append(name.removeprefix(prefix))

    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
    return files


def transitions(files: Iterable[str]) -> Counter[tuple[str, str]]:
    """Return how often a call in one file is followed by a call in another file."""
    found: Counter[tuple[str, str]] = Counter()
    before = None
    for file in files:
        if before is not None and file != before:
            found[before, file] += 1
        before = file
    return found


def visits(files: list[str]) -> int:
    """Return the number of visits: one for the first file, one for each change of the file."""
    return sum(transitions(files).values()) + bool(files)


def within(files: Iterable[str], *folders: str) -> list[str]:
    """Return the calls whose file lies below one of the folders."""
    return [file for file in files if file.startswith(tuple(f"{folder}/" for folder in folders))]


# ---- sizes ---------------------------------------------------------------------------------------


def count_lines(path: Path) -> int:
    """Return the number of lines of a text file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def files_of(root: Path, patterns: Iterable[str]) -> list[Path]:
    """Return the files below `root` that the patterns name, each once.

    Args:
        root: a folder.
        patterns: globs; `!` before one leaves its files out, `a|b` is b where a names nothing.

    Raises:
        FileNotFoundError: a pattern names nothing, so the list does not fit this revision.
    """
    found: set[Path] = set()
    for pattern in patterns:
        choices = (set(root.glob(each)) for each in pattern.removeprefix("!").split("|"))
        matched = next(filter(None, choices), None)
        if matched is None:
            raise FileNotFoundError(f"{pattern} names no file below {root}")
        found = found - matched if pattern.startswith("!") else found | matched
    return sorted(found)


def long_files(paths: Iterable[Path], limit: int = MAX_LINES) -> list[Path]:
    """Return the files with more lines than the limit."""
    return [path for path in paths if count_lines(path) > limit]


def long_functions(paths: Iterable[Path], limit: int = MAX_FUNCTION) -> list[str]:
    """Return `file:function` of every function that is longer than the limit."""
    return [
        f"{path.name}:{node.name}"
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > limit
    ]


def room_lines(package: Path) -> dict[str, int]:
    """Return the lines of Python in each room, largest first."""
    found: Counter[str] = Counter()
    for path in package.glob("*/**/*.py"):
        found[path.relative_to(package).parts[0]] += count_lines(path)
    return dict(found.most_common())


# ---- imports -------------------------------------------------------------------------------------


def module_name(path: Path, package: Path) -> str:
    """Return the dotted name of a module; that of a package for its `__init__.py`."""
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path: Path, package: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (module, names taken from it) of each import in a file, relative ones resolved."""
    inside = path.relative_to(package.parent).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = inside[: len(inside) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module, [alias.name for alias in node.names]


def module_edges(package: Path) -> Edges:
    """Return {module: modules of the package that it imports}, also inside functions."""
    modules = {module_name(path, package): path for path in sorted(package.rglob("*.py"))}
    edges: Edges = {name: set() for name in modules}
    for name, path in modules.items():
        for module, taken in _imported(path, package):
            parts = [f"{module}.{each}" for each in taken]
            inner = [part for part in parts if part in modules]
            # `from package import module` needs the module; the package only for its other names
            edges[name] |= set(inner)
            if module in modules and len(inner) < max(1, len(parts)):
                edges[name].add(module)
        edges[name].discard(name)
    return edges


def imports_package(path: Path, package: str) -> bool:
    """Return whether a file outside of a package imports it or a part of it."""
    imports = _imported(path, path.parent)
    return any(module.split(".")[0] == package for module, _ in imports)


def room_edges(edges: Edges) -> Edges:
    """Return {room: other rooms that it imports} of the edges between modules."""
    found: Edges = {}
    for module, targets in edges.items():
        room = room_of(module)
        found.setdefault(room, set()).update(room_of(target) for target in targets)
        found[room].discard(room)
    return found


def room_of(module: str) -> str:
    """Return the part of the package that a module belongs to; the package itself for its root."""
    return (module.split(".") + [""])[1] or module


def circles(edges: Edges) -> list[list[str]]:
    """Return the groups of nodes that import each other in a circle, each sorted."""
    reach = {node: _reachable(node, edges) for node in edges}
    groups = {
        tuple(sorted(other for other in reach[node] if node in reach.get(other, set())))
        for node in edges
        if node in reach[node]
    }
    return sorted(list(group) for group in groups)


def _reachable(start: str, edges: Edges) -> set[str]:
    found: set[str] = set()
    waiting = list(edges[start])
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += edges.get(node, ())
    return found


def room_numbers(page: Path) -> dict[str, int]:
    """Return {room: number} as the table of the architecture page has them."""
    numbers: dict[str, int] = {}
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 3 and cells[1].isdigit():
            numbers |= dict.fromkeys(re.findall(r"`\w+\.(\w+)`", cells[2]), int(cells[1]))
    return numbers


@dataclass(frozen=True)
class Arrow:
    """An import of a room that stands higher."""

    module: str
    target: str

    def __str__(self) -> str:
        return f"{self.module} -> {self.target}"


def upward_arrows(edges: Edges, numbers: dict[str, int]) -> list[Arrow]:
    """Return the imports of rooms with a larger number; rooms without a number are not judged."""
    return [
        Arrow(module, target)
        for module, targets in edges.items()
        for target in sorted(targets)
        if numbers.get(room_of(target), 0) > numbers.get(room_of(module), sys.maxsize)
    ]
