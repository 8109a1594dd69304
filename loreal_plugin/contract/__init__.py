"""What the plug-in asks of a host: one row a method, the only place that knows attribute names.

The names of the methods (`tuple(CONTRACTS)`) need no torch; everything else is imported when asked
for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from loreal_plugin.contract.registry import (
    CONTRACTS,
    DEFAULT_METHOD,
    PLAIN_METHOD,
    contract_of,
    get_contract,
)

if TYPE_CHECKING:
    from loreal_plugin.contract.base import HostContract
    from loreal_plugin.contract.part_checks import PartCheck
    from loreal_plugin.contract.text import HostPrompts

_LAZY = {"HostContract": "base", "HostPrompts": "text", "PartCheck": "part_checks"}


def __getattr__(name: str) -> Any:
    """Return a class of this package on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)


__all__ = [
    "CONTRACTS",
    "DEFAULT_METHOD",
    "PLAIN_METHOD",
    "HostContract",
    "HostPrompts",
    "PartCheck",
    "contract_of",
    "get_contract",
]
