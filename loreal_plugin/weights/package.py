"""Importing the `clip` package: also with new setuptools, and only for a moment where asked."""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
import warnings
from collections.abc import Iterator

from loreal_plugin.errors import WeightsError


def import_clip() -> types.ModuleType:
    """Return the `clip` package that is first on `sys.path`: the host's own, else clip-anytorch.

    clip-anytorch 2.6.0 takes `packaging` from `pkg_resources`, which newer setuptools lack; the
    name is lent to it for the time of the import.

    Raises:
        WeightsError: there is no such package, or it cannot be imported.
    """
    if "clip.model" in sys.modules and "clip" in sys.modules:
        return sys.modules["clip"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the deprecation of pkg_resources is known
            with pkg_resources_with_packaging():
                package = importlib.import_module("clip")
                importlib.import_module("clip.model")
    except ImportError as error:
        raise WeightsError(
            f"the package 'clip' cannot be imported ({error}); pip install clip-anytorch"
        ) from error
    return package


@contextlib.contextmanager
def pkg_resources_with_packaging() -> Iterator[None]:
    """Make `from pkg_resources import packaging` work inside; put back what was found."""
    nothing = object()  # None in sys.modules has a meaning of its own
    found = sys.modules.get("pkg_resources", nothing)
    has_packaging = False
    with contextlib.suppress(ImportError):
        has_packaging = hasattr(importlib.import_module("pkg_resources"), "packaging")
    if has_packaging:
        yield
        return
    lent = types.ModuleType("pkg_resources")
    lent.packaging = importlib.import_module("packaging")
    importlib.import_module("packaging.version")
    sys.modules["pkg_resources"] = lent
    try:
        yield
    finally:
        del sys.modules["pkg_resources"]
        if found is not nothing:
            sys.modules["pkg_resources"] = found


@contextlib.contextmanager
def borrowed_clip() -> Iterator[types.ModuleType]:
    """Give the `clip` package and forget it afterwards, unless it was imported before.

    Before a host is attached nothing named `clip` may stay imported: the host's own would never be
    found.
    """
    before = "clip" in sys.modules
    package = import_clip()
    try:
        yield package
    finally:
        if not before:
            for name in [
                name for name in sys.modules if name == "clip" or name.startswith("clip.")
            ]:
                del sys.modules[name]
