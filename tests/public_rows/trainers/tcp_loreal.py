"""TCP with LOREAL, found beside the host's own trainers."""

from __future__ import annotations

from dassl.engine import TRAINER_REGISTRY
from trainers.tcp import TCP

from loreal_plugin.trainer import LorealMixin


@TRAINER_REGISTRY.register()
class TCP_LOREAL(LorealMixin, TCP):
    """The host's `TCP` behind `LorealMixin`."""
