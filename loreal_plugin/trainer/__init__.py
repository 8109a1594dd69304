"""The trainer: LOREAL's life cycle on top of any host trainer of the family."""

from loreal_plugin.trainer.mixin import LorealMixin

__all__ = ["LorealMixin"]
