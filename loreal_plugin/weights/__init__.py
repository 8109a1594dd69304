"""CLIP weights from any usual source, as a state dict under OpenAI's keys.

A source is a name of OpenAI's (`ViT-B/16`), `demo` or `demo-2`, or a file: OpenAI's TorchScript
archive, a plain state dict, a Hugging Face `CLIPModel`, an OpenCLIP checkpoint, any of them as
safetensors.
"""

from loreal_plugin.weights.clip_layout import describe
from loreal_plugin.weights.package import import_clip
from loreal_plugin.weights.sources import (
    clip_sizes,
    load_clip_state_dict,
    weights_fingerprint,
    weights_place,
)

__all__ = [
    "clip_sizes",
    "describe",
    "import_clip",
    "load_clip_state_dict",
    "weights_fingerprint",
    "weights_place",
]
