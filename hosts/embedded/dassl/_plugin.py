"""All that this package takes from the plug-in: errors that a user can act on, a safe reader."""

from loreal_plugin.errors import CheckpointError, ConfigError, DataError, unknown_name
from loreal_plugin.weights.host_checkpoints import read_saved

__all__ = ["CheckpointError", "ConfigError", "DataError", "read_saved", "unknown_name"]
