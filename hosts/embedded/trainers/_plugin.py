"""All that these trainers take from the plug-in: errors, CLIP's files, CLIP's templates."""

from loreal_plugin.data.templates import DEFAULT_TEMPLATE, TEMPLATES
from loreal_plugin.errors import CheckpointError, ConfigError
from loreal_plugin.weights import import_clip, load_clip_state_dict

__all__ = [
    "DEFAULT_TEMPLATE",
    "TEMPLATES",
    "CheckpointError",
    "ConfigError",
    "import_clip",
    "load_clip_state_dict",
]
