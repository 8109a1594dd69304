"""MaPLe with LOREAL: trainer `MaPLe_LOREAL`, found beside the host's own trainers."""

from __future__ import annotations

from dassl.engine import TRAINER_REGISTRY
from trainers.maple import MaPLe

from loreal_plugin.trainer import LorealMixin


@TRAINER_REGISTRY.register()
class MaPLe_LOREAL(LorealMixin, MaPLe):
    """The host's `MaPLe` behind `LorealMixin`; the host's own where LOREAL.ENABLED is False."""
