"""What the plug-in asks of a host: one contract a method, the only place that knows attribute
names.
"""

from __future__ import annotations

from loreal_plugin.contract.base import HostContract, HostPrompts
from loreal_plugin.contract.cocoop import CoCoOpContract
from loreal_plugin.contract.coop import CoOpContract
from loreal_plugin.contract.ivlp import IVLPContract
from loreal_plugin.contract.maple import MaPLeContract
from loreal_plugin.contract.mma import MMAContract
from loreal_plugin.contract.mmrl import MMRLContract
from loreal_plugin.contract.part_checks import ContractRow
from loreal_plugin.errors import ConfigError, unknown_name

_ROWS = (CoOpContract, MaPLeContract, MMAContract, MMRLContract, CoCoOpContract, IVLPContract)
CONTRACTS: dict[str, HostContract] = {row.method: row() for row in _ROWS}


def get_contract(method: str) -> HostContract:
    """Return the contract of `method`.

    Raises:
        ConfigError: no contract has that name; the nearest known one is offered.
    """
    if method not in CONTRACTS:
        raise ConfigError(unknown_name("method", method, CONTRACTS))
    return CONTRACTS[method]


__all__ = ["CONTRACTS", "ContractRow", "HostContract", "HostPrompts", "get_contract"]
