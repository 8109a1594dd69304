"""All that this package takes from the plug-in: errors that a user can act on, safe readers."""

from loreal_plugin.errors import CheckpointError, ConfigError, DataError, unknown_name
from loreal_plugin.files.atomic import replacing
from loreal_plugin.pictures import read_picture
from loreal_plugin.weights.host_checkpoints import read_saved

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "read_picture",
    "read_saved",
    "replacing",
    "unknown_name",
]
