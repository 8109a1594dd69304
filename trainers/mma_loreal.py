"""MMA with LOREAL: trainer `MMA_LOREAL`, found beside the host's own trainers."""

from __future__ import annotations

from dassl.engine import TRAINER_REGISTRY
from trainers.mmadapter import MultiModalAdapter

from loreal_plugin.trainer import LorealMixin


@TRAINER_REGISTRY.register()
class MMA_LOREAL(LorealMixin, MultiModalAdapter):
    """The host's `MultiModalAdapter` behind `LorealMixin`; the host's own where LOREAL.ENABLED is
    False.
    """
