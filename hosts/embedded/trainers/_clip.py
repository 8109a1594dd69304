"""CLIP for the trainers: the package, the model on the CPU, and whether it fits the input size."""

from __future__ import annotations

import os

from torch import nn
from yacs.config import CfgNode

from trainers._plugin import ConfigError, import_clip, load_clip_state_dict

clip = import_clip()


def load_clip_to_cpu(cfg: CfgNode, *_: object) -> nn.Module:
    """Return CLIP with the weights of `CLIP_WEIGHTS`, else of `cfg.MODEL.BACKBONE.NAME`, in half
    precision.

    Half precision is what the package's `build_model` makes of any weights; real hosts round alike.

    Raises:
        WeightsError: the weights are missing, broken or not of a CLIP ViT.
    """
    source = os.environ.get("CLIP_WEIGHTS") or cfg.MODEL.BACKBONE.NAME
    return clip.model.build_model(load_clip_state_dict(source))


def check_input_size(cfg: CfgNode, clip_model: nn.Module) -> None:
    """Raise ConfigError unless `cfg.INPUT.SIZE` is the square that the image encoder takes."""
    resolution = clip_model.visual.input_resolution
    if tuple(cfg.INPUT.SIZE) != (resolution, resolution):
        raise ConfigError(
            f"INPUT.SIZE is {tuple(cfg.INPUT.SIZE)}, but the image encoder takes"
            f" {(resolution, resolution)}; set it to that, or let the plug-in resample the"
            " positional embedding (see docs/HOSTS.md)"
        )


def check_layers(option: str, layers: list[int], clip_model: nn.Module, first: int) -> None:
    """Raise ConfigError unless all `layers` lie within both towers.

    Args:
        option: the key to name in the error.
        layers: layer numbers; 1 is the first block, 0 the embedding.
        first: the lowest number that the option may have.
    """
    text = len(clip_model.transformer.resblocks)
    image = len(clip_model.visual.transformer.resblocks)
    outside = [layer for layer in layers if not first <= layer <= min(text, image)]
    if outside:
        raise ConfigError(
            f"{option} asks for layer {', '.join(map(str, outside))}, but this backbone has {text}"
            f" text and {image} image layers; choose from {first} to {min(text, image)}"
        )
