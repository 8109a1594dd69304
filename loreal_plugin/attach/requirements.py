"""What a host's sources import, followed without importing: all that is absent, at once."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from loreal_plugin.attach.host_sources import Import, top_of
from loreal_plugin.contract import PartCheck

# where the name to install is not the name to import
_INSTALL = {"sklearn": "scikit-learn", "yaml": "pyyaml", "PIL": "pillow", "cv2": "opencv-python"}
# the shim `wilds` stands in for the one, `weights.package` lends what is used of the other
_STOOD_IN_FOR = ("dassl.data.datasets.dg.wilds", "pkg_resources")


def import_checks(
    packages: Mapping[str, Path], start: Mapping[str, str], host: Path
) -> tuple[list[PartCheck], tuple[str, ...]]:
    """Return one check for each package or file that is imported and not there, and the names of
    further modules at the host's root that are imported.

    Only what a module imports at its top is followed: imports in functions and in `try` are the
    host's own care.

    Args:
        packages: the host's top-level modules, with the folder each is in.
        start: dotted names of the modules to begin with, and who imports them; nobody (empty) where
            one that is missing itself is reported elsewhere.
        host: the checkout; its root is searched first for every import.
    """
    known, others = dict(packages), []
    seen: set[str] = set()
    missing: dict[str, PartCheck] = {}
    todo = list(start.items())
    while todo:
        name, by = todo.pop()
        if name in seen or name.startswith(_STOOD_IN_FOR):
            continue
        seen.add(name)
        top = name.split(".")[0]
        if top not in known and _at_root(top, host):
            known[top] = host
            others.append(top)
        if top not in known:
            if not _installed(top):
                missing.setdefault(top, _package_check(top, by))
            continue
        file = _file_of(name, known[top])
        if file is None:
            if by:
                missing.setdefault(name, _file_check(name, by))
            continue
        todo += [(parent, by) for parent in _parents(name)]
        shown = file.relative_to(known[top]).as_posix()
        todo += [(wanted, shown) for wanted in _imported(file, name, known, host)]
    return list(missing.values()), tuple(sorted(others))


def _imported(file: Path, name: str, packages: Mapping[str, Path], host: Path) -> Iterator[str]:
    """Give the dotted names that a file imports at its top; a.b, too, if b is a module of a."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for found in _top_imports(file):
        base = found.module
        if found.level:
            parts = package.split(".")
            base = ".".join([*parts[: len(parts) - found.level + 1], *([base] if base else [])])
        yield base
        top = base.split(".")[0]
        root = packages.get(top, host if _at_root(top, host) else None)
        inside = [f"{base}.{name}" for name in found.names]
        yield from (one for one in inside if root is not None and _file_of(one, root) is not None)


def _top_imports(file: Path) -> tuple[Import, ...]:
    try:
        return top_of(file).imports
    except (OSError, SyntaxError, UnicodeDecodeError):
        return ()  # the import itself says what is wrong with the file


def _at_root(top: str, host: Path) -> bool:
    """Return whether a top-level name is a module at the host's root, and no standard one's.

    A folder without an `__init__.py` comes after an installed package of that name.
    """
    file = _file_of(top, host) if top and top not in sys.stdlib_module_names else None
    if file is None or file.is_file():
        return file is not None
    found = importlib.util.find_spec(top)
    return any(file.parent.glob("*.py")) and (found is None or found.origin is None)


def _file_of(name: str, root: Path) -> Path | None:
    """Return the source file of a dotted name, an empty folder's missing __init__.py included."""
    path = root.joinpath(*name.split("."))
    for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
        if file.is_file():
            return file
    return path / "__init__.py" if path.is_dir() else None


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _installed(top: str) -> bool:
    try:
        return importlib.util.find_spec(top) is not None
    except ValueError:  # a module without a spec was put into sys.modules by hand
        return True


def _package_check(top: str, by: str) -> PartCheck:
    return PartCheck(
        f"package {top}",
        f"import {top} ({by})",
        f"not installed; pip install {_INSTALL.get(top, top)}",
        False,
    )


def _file_check(name: str, by: str) -> PartCheck:
    return PartCheck(f"module {name}", f"{name.replace('.', '/')}.py ({by})", "no such file", False)
