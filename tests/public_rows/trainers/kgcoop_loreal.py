"""KgCoOp with LOREAL, found beside the host's own trainers."""

from __future__ import annotations

from dassl.engine import TRAINER_REGISTRY
from trainers.kgcoop import KgCoOp

from loreal_plugin.trainer import LorealMixin


@TRAINER_REGISTRY.register()
class KgCoOp_LOREAL(LorealMixin, KgCoOp):
    """The host's `KgCoOp` behind `LorealMixin`."""
