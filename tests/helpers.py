"""What many tests need: a tiny random CLIP in OpenAI's key layout, and a miniature dataset on disk.

Width 64 gives one attention head: CLIP's `build_model` takes heads of 64 from the widths.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import Tensor

TINY_CLASSES = (
    "airplane",
    "brain",
    "camera",
    "dalmatian",
    "euphonium",
    "ferry",
    "gramophone",
    "hawksbill",
)


def random_clip_state_dict(
    width: int = 64,
    text_width: int = 64,
    layers: int = 3,
    text_layers: int = 3,
    embed_dim: int = 64,
    patch: int = 16,
    resolution: int = 64,
    vocab: int = 49408,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Return float32 weights of a random CLIP ViT under OpenAI's keys; the same seed gives the same
    weights.

    Every tensor is random (also biases, layer norms and positional embeddings), so that a part that
    is left out, swapped or read twice changes the features.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, std: float, mean: float = 0.0) -> Tensor:
        return mean + std * torch.randn(*shape, generator=generator)

    grid = resolution // patch
    state = {
        "visual.class_embedding": normal(width, std=width**-0.5),
        "visual.positional_embedding": normal(grid * grid + 1, width, std=width**-0.5),
        "visual.proj": normal(width, embed_dim, std=width**-0.5),
        "visual.conv1.weight": normal(width, 3, patch, patch, std=(3 * patch * patch) ** -0.5),
        "positional_embedding": normal(77, text_width, std=0.05),
        "text_projection": normal(text_width, embed_dim, std=text_width**-0.5),
        "logit_scale": torch.tensor(math.log(100.0)),
        "token_embedding.weight": normal(vocab, text_width, std=0.1),
    }
    norms = {"visual.ln_pre": width, "visual.ln_post": width, "ln_final": text_width}
    for tower, size, depth in (
        ("visual.transformer", width, layers),
        ("transformer", text_width, text_layers),
    ):
        for index in range(depth):
            block = f"{tower}.resblocks.{index}"
            norms |= {f"{block}.ln_1": size, f"{block}.ln_2": size}
            for name, rows, columns in (
                ("attn.in_proj_", 3 * size, size),
                ("attn.out_proj.", size, size),
                ("mlp.c_fc.", 4 * size, size),
                ("mlp.c_proj.", size, 4 * size),
            ):
                state[f"{block}.{name}weight"] = normal(rows, columns, std=columns**-0.5)
                state[f"{block}.{name}bias"] = normal(rows, std=0.02)
    for name, size in norms.items():
        state[f"{name}.weight"] = normal(size, std=0.05, mean=1.0)
        state[f"{name}.bias"] = normal(size, std=0.05)
    return state


def random_clip_file(folder: Path, name: str = "tiny_clip.pt", **shape: int) -> Path:
    """Write `random_clip_state_dict(**shape)` to `folder/name` and return the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    torch.save(random_clip_state_dict(**shape), path)
    return path


def whole_runs(out: Path, pattern: str) -> list[Path]:
    """Return the folders below `out` that match a pattern and have the record of a whole run.

    Stage 3 of a run with settings of its own for the adaptation lies in another folder.
    """
    found = sorted(path.parent for path in out.rglob(f"{pattern}/results.json"))
    return [
        folder for folder in found if "stages" in json.loads((folder / "results.json").read_text())
    ]


def tiny_image_folder(
    root: Path, classes: int = 4, per_class: int = 6, size: int = 80, seed: int = 0
) -> Path:
    """Write `classes` folders of `per_class` noisy PNGs, `size` pixels square; return `root`."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    for label in range(classes):
        folder = root / TINY_CLASSES[label % len(TINY_CLASSES)]
        if label >= len(TINY_CLASSES):
            folder = root / f"class {label}"
        folder.mkdir(parents=True, exist_ok=True)
        colour = rng.integers(30, 225, size=3)
        for index in range(per_class):
            noise = rng.integers(-25, 26, size=(size, size, 3))
            pixels = np.clip(colour + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"image_{index:04d}.png")
    return root
