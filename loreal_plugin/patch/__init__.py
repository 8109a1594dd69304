"""Patch mode: LOREAL's trainers, configs and scripts inside a host's own folder, and a way back."""

from loreal_plugin.patch.apply import Outcome, patch_host, unpatch_host

__all__ = ["Outcome", "patch_host", "unpatch_host"]
