"""CoCoOp with LOREAL: trainer `CoCoOp_LOREAL`, found beside the host's own trainers."""

from __future__ import annotations

from dassl.engine import TRAINER_REGISTRY
from trainers.cocoop import CoCoOp

from loreal_plugin.trainer import LorealMixin


@TRAINER_REGISTRY.register()
class CoCoOp_LOREAL(LorealMixin, CoCoOp):
    """The host's `CoCoOp` behind `LorealMixin`; the host's own where LOREAL.ENABLED is False."""
