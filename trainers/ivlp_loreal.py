"""IVLP with LOREAL: trainer `IVLP_LOREAL`, found beside the host's own trainers."""

from __future__ import annotations

from dassl.engine import TRAINER_REGISTRY
from trainers.independentVL import IVLP

from loreal_plugin.trainer import LorealMixin


@TRAINER_REGISTRY.register()
class IVLP_LOREAL(LorealMixin, IVLP):
    """The host's `IVLP` behind `LorealMixin`; the host's own where LOREAL.ENABLED is False."""
