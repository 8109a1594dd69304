"""The models that are measured: CLIP's own ViT-B/16 sizes, or tiny ones, with random weights.

Time and memory do not depend on the values of the weights, so none are downloaded.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from loreal_plugin.errors import CacheError, ConfigError, unknown_name
from loreal_plugin.files.locks import shared_lock
from loreal_plugin.files.tensors import write_tensors
from loreal_plugin.paths import bundle_root, cache_root
from loreal_plugin.weights.clip_layout import expected_shapes

N_ATTRIBUTES, N_CONTENT = 5, 2  # K and M of every measurement
SEED = 0  # of the random weights


@dataclass(frozen=True)
class ModelSize:
    """One size of CLIP.

    Attributes:
        facts: what `weights.clip_layout.describe` would say of its weights.
        dtype: type the weights are stored in; OpenAI's file is in half precision.
        recipe: `configs/trainers/<X>_LOREAL/host_<recipe>.yaml`.
        phis: low resolutions that fit, in pixels, and the native size last.
        tiny: whether the recipes fit only with the rows' `tiny_options`.
    """

    name: str
    facts: dict[str, int]
    dtype: torch.dtype
    recipe: str
    phis: tuple[int, ...]
    tiny: bool = False

    @property
    def native(self) -> int:
        """Input size of the weights in pixels."""
        return self.facts["grid"] * self.facts["patch"]


def _facts(layers: int, width: int, patch: int, grid: int, text_width: int) -> dict[str, int]:
    return {
        "layers": layers,
        "width": width,
        "patch": patch,
        "grid": grid,
        "text_layers": layers,
        "text_width": text_width,
        "embed_dim": text_width,
        "context_length": 77,
        "vocab": 49408,
    }


SIZES = {
    size.name: size
    for size in (
        ModelSize(
            "vit_b16", _facts(12, 768, 16, 14, 512), torch.float16, "vit_b16", (96, 144, 192, 224)
        ),
        ModelSize(
            "tiny", _facts(3, 64, 16, 4, 64), torch.float32, "vit_b16", (32, 48, 64), tiny=True
        ),
    )
}


def get_size(name: str) -> ModelSize:
    """Return a size by name; ConfigError where there is none of that name."""
    if name not in SIZES:
        raise ConfigError(unknown_name("size", name, SIZES))
    return SIZES[name]


def random_state_dict(size: ModelSize) -> dict[str, Tensor]:
    """Return random CLIP weights under OpenAI's keys.

    They are scaled so that features stay finite in half precision.
    """
    generator = torch.Generator().manual_seed(SEED)
    state = {}
    for name, shape in expected_shapes(size.facts).items():
        values = torch.randn(shape, generator=generator)
        if "ln_" in name:
            values = 0.05 * values + (1.0 if name.endswith("weight") else 0.0)
        elif name.endswith("bias") or "embedding" in name:
            values = 0.02 * values
        elif name == "logit_scale":
            values = torch.tensor(math.log(100.0))
        else:
            values = values / math.prod(shape[1:] if len(shape) > 2 else shape[-1:]) ** 0.5
        state[name] = values.to(size.dtype)
    return state


def weights_file(size: ModelSize) -> Path:
    """Return a safetensors file of random weights in the cache, written on first use.

    Raises:
        CacheError: it cannot be written.
    """
    path = cache_root() / "bench" / f"{size.name}-random-{SEED}.safetensors"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with shared_lock(path.with_suffix(".lock")):
            if not path.is_file():
                write_tensors(path, random_state_dict(size))
    except OSError as error:
        raise CacheError(
            f"random weights {path} cannot be written: {error}; set LOREAL_CACHE elsewhere"
        ) from error
    return path


def class_names(count: int) -> list[str]:
    """Return the first `count` class names of ImageNet, which have the lengths of real names.

    Raises:
        ConfigError: more than the file has.
    """
    path = bundle_root() / "attributes" / "imagenet.json"
    names = json.loads(path.read_text(encoding="utf-8"))["classnames"]
    if not 1 < count <= len(names):
        raise ConfigError(f"{count} classes were asked for; there are names for 2 to {len(names)}")
    return names[:count]
