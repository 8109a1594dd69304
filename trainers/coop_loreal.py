"""CoOp with LOREAL: trainer `CoOp_LOREAL`, found beside the host's own trainers."""

from __future__ import annotations

from dassl.engine import TRAINER_REGISTRY
from trainers.coop import CoOp

from loreal_plugin.trainer import LorealMixin


@TRAINER_REGISTRY.register()
class CoOp_LOREAL(LorealMixin, CoOp):
    """The host's `CoOp` behind `LorealMixin`; the host's own where LOREAL.ENABLED is False."""
