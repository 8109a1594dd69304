"""CoPrompt with LOREAL, found beside the host's own trainers."""

from __future__ import annotations

from dassl.engine import TRAINER_REGISTRY
from trainers.coprompt import CoPrompt

from loreal_plugin.trainer import LorealMixin


@TRAINER_REGISTRY.register()
class CoPrompt_LOREAL(LorealMixin, CoPrompt):
    """The host's `CoPrompt` behind `LorealMixin`."""
