"""DePT with LOREAL, found beside the host's own trainers."""

from __future__ import annotations

from dassl.engine import TRAINER_REGISTRY
from trainers.elp_coop import ExtrasLinearProbeCoOp

from loreal_plugin.trainer import LorealMixin


@TRAINER_REGISTRY.register()
class DePT_LOREAL(LorealMixin, ExtrasLinearProbeCoOp):
    """The host's `ExtrasLinearProbeCoOp` behind `LorealMixin`."""
