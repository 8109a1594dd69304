"""MMRL with LOREAL: trainer `MMRL_LOREAL`, found beside the host's own trainers."""

from __future__ import annotations

from dassl.engine import TRAINER_REGISTRY
from trainers.mmrl import MMRL

from loreal_plugin.trainer import LorealMixin


@TRAINER_REGISTRY.register()
class MMRL_LOREAL(LorealMixin, MMRL):
    """The host's `MMRL` behind `LorealMixin`; the host's own where LOREAL.ENABLED is False."""
