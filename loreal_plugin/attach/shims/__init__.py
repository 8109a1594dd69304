"""Repairs of real hosts and Dassl on today's torch; each is applied only where its cause is found.

Three more repairs are made where CLIP is loaded (`loreal_plugin.attach.clip_source`): they are
`LOADER_FACTS`.
Source of the failures: docs/HOSTS.md.
"""

from __future__ import annotations

from loreal_plugin.attach.clip_source import LOADER_FACTS
from loreal_plugin.attach.compat import Shim, ShimFacts
from loreal_plugin.attach.shims.dassl import DASSL_SHIMS
from loreal_plugin.attach.shims.host_files import FILE_SHIMS
from loreal_plugin.attach.shims.maple import MAPLE_SHIMS
from loreal_plugin.attach.shims.mmrl import MMRL_SHIMS
from loreal_plugin.attach.shims.trainers import TRAINER_SHIMS

SHIMS: tuple[Shim, ...] = (
    *DASSL_SHIMS,
    *MAPLE_SHIMS,
    *MMRL_SHIMS,
    *TRAINER_SHIMS,
    *FILE_SHIMS,
)
ALL_FACTS: tuple[ShimFacts, ...] = (*LOADER_FACTS, *(shim.facts for shim in SHIMS))

__all__ = ["ALL_FACTS", "LOADER_FACTS", "SHIMS", "Shim", "ShimFacts"]
