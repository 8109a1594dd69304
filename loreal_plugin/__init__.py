"""LOREAL: low-resolution prompt learning as a plug-in for CoOp-family code bases.

The names below are what other programs may use; docs/API.md describes them. Each is imported when
it is first asked for, so that `import loreal_plugin` needs nothing but Python.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from loreal_plugin.version import __version__

if TYPE_CHECKING:
    from loreal_plugin.attach import AttachedHost, attach_host
    from loreal_plugin.contract import HostContract, get_contract
    from loreal_plugin.edge.package import Package
    from loreal_plugin.errors import LorealError
    from loreal_plugin.export.export_run import ExportPlan, export_run
    from loreal_plugin.inference.deployed import Deployed, Prediction
    from loreal_plugin.method.loreal import Loreal
    from loreal_plugin.options import LorealOptions, resolve_options
    from loreal_plugin.runs.load_run import load_run
    from loreal_plugin.trainer.mixin import LorealMixin

# Public name -> the module that has it.
_PUBLIC = {
    "load_run": "runs.load_run",
    "Deployed": "inference.deployed",
    "Prediction": "inference.deployed",
    "attach_host": "attach",
    "AttachedHost": "attach",
    "export_run": "export.export_run",
    "ExportPlan": "export.export_run",
    "Package": "edge.package",
    "Loreal": "method.loreal",
    "LorealMixin": "trainer.mixin",
    "LorealOptions": "options",
    "resolve_options": "options",
    "HostContract": "contract",
    "get_contract": "contract",
    "LorealError": "errors",
}

__all__ = [
    "AttachedHost",
    "Deployed",
    "ExportPlan",
    "HostContract",
    "Loreal",
    "LorealError",
    "LorealMixin",
    "LorealOptions",
    "Package",
    "Prediction",
    "__version__",
    "attach_host",
    "export_run",
    "get_contract",
    "load_run",
    "resolve_options",
]


def __getattr__(name: str) -> Any:
    """Return a public name, imported now."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
