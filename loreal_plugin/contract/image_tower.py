"""Which tensors of a host's image encoder can be adapted, and where its patch tokens are read."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from loreal_plugin.errors import HostError
from loreal_plugin.method.adaptation import place_of

# The linear maps of a residual block of CLIP, by name in the block.
BLOCK_MAPS = (
    "attn.in_proj_weight",
    "attn.out_proj.weight",
    "mlp.c_fc.weight",
    "mlp.c_proj.weight",
)


@dataclass(frozen=True)
class ImageTower:
    """The parts of an image encoder by their names in the host's model.

    Attributes:
        kernel: weight of the patch embedding, (D, 3, patch, patch).
        positions: positional embedding, (1 + N, D).
        maps: weights of the linear maps of all blocks, first block first, each (d_out, d_in).
        last_norm: the first layer norm of the last block; what it reads are that block's rows.
    """

    kernel: str
    positions: str
    maps: tuple[str, ...]
    last_norm: str


def tensor_of(model: nn.Module, name: str) -> Tensor:
    """Return a tensor by its name in a model, updates on it included; AttributeError: none."""
    return getattr(*place_of(model, name))


def is_vision_transformer(module: nn.Module) -> bool:
    """Return whether a module is an image encoder of CLIP's kind: patches and positions."""
    return isinstance(getattr(module, "conv1", None), nn.Conv2d) and isinstance(
        getattr(module, "positional_embedding", None), Tensor
    )


def clip_image_tower(model: nn.Module, trainer: str) -> ImageTower:
    """Return the parts of the model's image encoder, a vision transformer with CLIP's names.

    Args:
        trainer: registered name of the host's trainer, for the message.

    Raises:
        HostError: a part is missing.
    """
    blocks = "image_encoder.transformer.resblocks"
    try:
        depth = len(model.get_submodule(blocks))  # type: ignore[arg-type]  # a sequence of blocks
        maps = [f"{blocks}.{i}.{name}" for i in range(depth) for name in BLOCK_MAPS]
        found = ImageTower(
            "image_encoder.conv1.weight",
            "image_encoder.positional_embedding",
            tuple(maps),
            f"{blocks}.{depth - 1}.ln_1",
        )
        for name in (found.kernel, found.positions, *found.maps):
            tensor_of(model, name)
        model.get_submodule(found.last_norm)
    except (AttributeError, TypeError) as error:
        raise HostError(
            f"{trainer}: a part of a CLIP vision transformer was looked for and is not there"
            f" ({error}); the image side of such a model cannot be adapted; in a run"
            " leave that out: -- TRAINER.LOREAL.ADAPT none"
        ) from error
    return found
