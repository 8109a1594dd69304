"""What a host's sources import, followed without importing: all that is absent, at once."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path

from loreal_plugin.attach.host_sources import Import, top_of
from loreal_plugin.contract import PartCheck

# where the name to install is not the name to import
_INSTALL = {"sklearn": "scikit-learn", "yaml": "pyyaml", "PIL": "pillow", "cv2": "opencv-python"}
# the shim `wilds` stands in for the one, `weights.package` lends what is used of the other
_STOOD_IN_FOR = ("dassl.data.datasets.dg.wilds", "pkg_resources")


def import_checks(packages: Mapping[str, Path], start: Mapping[str, str]) -> list[PartCheck]:
    """Return one check for each package or file that is imported and not there.

    Only what a module imports at its top is followed: imports in functions and in `try` are the
    host's own care.

    Args:
        packages: the host's top-level modules, with the folder each is in.
        start: dotted names of the modules to begin with, and who imports them; nobody (empty) where
            one that is missing itself is reported elsewhere.
    """
    seen: set[str] = set()
    missing: dict[str, PartCheck] = {}
    todo = list(start.items())
    while todo:
        name, by = todo.pop()
        if name in seen or name.startswith(_STOOD_IN_FOR):
            continue
        seen.add(name)
        top = name.split(".")[0]
        if top not in packages:
            if not _installed(top):
                missing.setdefault(top, _package_check(top, by))
            continue
        file = _file_of(name, packages[top])
        if file is None:
            if by:
                missing.setdefault(name, _file_check(name, by))
            continue
        todo += [(parent, by) for parent in _parents(name)]
        shown = file.relative_to(packages[top]).as_posix()
        todo += [(wanted, shown) for wanted in _imported(file, name, packages)]
    return list(missing.values())


def _imported(file: Path, name: str, packages: Mapping[str, Path]) -> Iterator[str]:
    """Give the dotted names that a file imports at its top; a.b, too, if b is a module of a."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for found in _top_imports(file):
        base = found.module
        if found.level:
            parts = package.split(".")
            base = ".".join([*parts[: len(parts) - found.level + 1], *([base] if base else [])])
        yield base
        root = packages.get(base.split(".")[0])
        inside = [f"{base}.{name}" for name in found.names]
        yield from (one for one in inside if root is not None and _file_of(one, root) is not None)


def _top_imports(file: Path) -> tuple[Import, ...]:
    try:
        return top_of(file).imports
    except (OSError, SyntaxError, UnicodeDecodeError):
        return ()  # the import itself says what is wrong with the file


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
