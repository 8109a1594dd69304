"""PromptSRC with LOREAL, found beside the host's own trainers."""

from __future__ import annotations

from dassl.engine import TRAINER_REGISTRY
from trainers.promptsrc import PromptSRC

from loreal_plugin.trainer import LorealMixin


@TRAINER_REGISTRY.register()
class PromptSRC_LOREAL(LorealMixin, PromptSRC):
    """The host's `PromptSRC` behind `LorealMixin`."""
