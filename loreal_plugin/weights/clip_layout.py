"""The key layout of OpenAI's CLIP ViT: what a state dict describes, and whether it is whole."""

from __future__ import annotations

import re

from torch import Tensor

from loreal_plugin.errors import WeightsError

HEAD_WIDTH = 64  # clip.model.build_model derives the number of heads from the width
PARTS = {
    "ln_1.": ("weight", "bias"),
    "ln_2.": ("weight", "bias"),
    "attn.in_proj_": ("weight", "bias"),
    "attn.out_proj.": ("weight", "bias"),
    "mlp.c_fc.": ("weight", "bias"),
    "mlp.c_proj.": ("weight", "bias"),
}
BLOCK_KEYS = tuple(part + kind for part, kinds in PARTS.items() for kind in kinds)
OUTER_KEYS = (
    "visual.class_embedding",
    "visual.positional_embedding",
    "visual.proj",
    "visual.conv1.weight",
    "visual.ln_pre.weight",
    "visual.ln_pre.bias",
    "visual.ln_post.weight",
    "visual.ln_post.bias",
    "positional_embedding",
    "text_projection",
    "logit_scale",
    "token_embedding.weight",
    "ln_final.weight",
    "ln_final.bias",
)
# facts about the model and fixed tables, not weights
NOT_WEIGHTS = re.compile(
    r"^(input_resolution|context_length|vocab_size)$|(^|\.)(attn_mask|position_ids)$"
)


def count_layers(state: dict[str, Tensor], tower: str) -> int:
    """Return the number of blocks that `state` has under `tower`, e.g. `visual.transformer`."""
    found = (re.match(rf"{re.escape(tower)}\.resblocks\.(\d+)\.", name) for name in state)
    return len({match[1] for match in found if match})


def describe(state: dict[str, Tensor]) -> dict[str, int]:
    """Return the sizes of a CLIP ViT from its state dict under OpenAI's keys.

    The names: `layers`, `width`, `patch`, `grid`, `resolution` (pixels), `text_layers`,
    `text_width`, `embed_dim`, `context_length`, `vocab`, `parameters`.

    Raises:
        WeightsError: a key that tells a size is missing.
    """
    missing = [name for name in OUTER_KEYS if name not in state]
    if missing:
        raise WeightsError(
            f"no CLIP ViT state dict: it lacks {', '.join(missing[:5])} ({len(missing)} keys in"
            " all)"
        )
    width, _, patch, _ = state["visual.conv1.weight"].shape
    grid = round((len(state["visual.positional_embedding"]) - 1) ** 0.5)
    vocab, text_width = state["token_embedding.weight"].shape
    return {
        "layers": count_layers(state, "visual.transformer"),
        "width": width,
        "patch": patch,
        "grid": grid,
        "resolution": grid * patch,
        "text_layers": count_layers(state, "transformer"),
        "text_width": text_width,
        "embed_dim": state["text_projection"].shape[1],
        "context_length": len(state["positional_embedding"]),
        "vocab": vocab,
        "parameters": sum(value.numel() for value in state.values()),
    }


def expected_shapes(sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Return key and shape of every tensor that a CLIP ViT of these `describe` sizes has."""
    width, text_width, embed_dim = sizes["width"], sizes["text_width"], sizes["embed_dim"]
    shapes: dict[str, tuple[int, ...]] = {
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (sizes["grid"] ** 2 + 1, width),
        "visual.proj": (width, embed_dim),
        "visual.conv1.weight": (width, 3, sizes["patch"], sizes["patch"]),
        "positional_embedding": (sizes["context_length"], text_width),
        "text_projection": (text_width, embed_dim),
        "logit_scale": (),
        "token_embedding.weight": (sizes["vocab"], text_width),
    }
    for norm, size in (
        ("visual.ln_pre", width),
        ("visual.ln_post", width),
        ("ln_final", text_width),
    ):
        shapes |= {f"{norm}.weight": (size,), f"{norm}.bias": (size,)}
    towers = (
        ("visual.transformer", width, sizes["layers"]),
        ("transformer", text_width, sizes["text_layers"]),
    )
    for tower, size, layers in towers:
        for index in range(layers):
            shapes |= {
                f"{tower}.resblocks.{index}.{name}": shape
                for name, shape in _block_shapes(size).items()
            }
    return shapes


def _block_shapes(size: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a block's tensors at a width; those not named here are (size,)."""
    rows = {"attn.in_proj_": (3 * size, size), "attn.out_proj.": (size, size)}
    rows |= {"mlp.c_fc.": (4 * size, size), "mlp.c_proj.": (size, 4 * size)}
    shapes = {
        name: rows.get(name.removesuffix("weight"), (size,))
        for name in BLOCK_KEYS
        if name.endswith("weight")
    }
    return shapes | {
        name.removesuffix("weight") + "bias": (shape[0],) for name, shape in shapes.items()
    }


def checked_weights(state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return the weights of `state` alone; WeightsError names `source` and what does not fit."""
    if any(name.startswith("visual.layer1.") for name in state):
        raise WeightsError(
            f"{source} is a CLIP ResNet; ViT only: take a ViT backbone such as ViT-B/16"
        )
    weights = {name: value for name, value in state.items() if not NOT_WEIGHTS.search(name)}
    try:
        sizes = describe(weights)
    except WeightsError as error:
        raise WeightsError(
            f"{source}: {error}; give a CLIP ViT from OpenAI, Hugging Face or OpenCLIP"
        ) from error
    shapes = expected_shapes(sizes)
    faults = [f"{name} is missing" for name in shapes.keys() - weights.keys()]
    faults += [f"{name} is not part of a plain CLIP ViT" for name in weights.keys() - shapes.keys()]
    faults += [
        f"{name} is {tuple(weights[name].shape)}, not {shape}"
        for name, shape in shapes.items()
        if name in weights and tuple(weights[name].shape) != shape
    ]
    faults += [
        f"width {sizes[k]} is no multiple of {HEAD_WIDTH}"
        for k in ("width", "text_width")
        if sizes[k] % HEAD_WIDTH
    ]
    faults += [
        f"{tower} tower without blocks" for tower in ("layers", "text_layers") if sizes[tower] == 0
    ]
    if faults:
        raise WeightsError(
            f"{source} cannot be used: {'; '.join(sorted(faults)[:5])}"
            f" (faults in all: {len(faults)})"
        )
    return weights
