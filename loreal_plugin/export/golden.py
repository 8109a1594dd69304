"""The golden pictures: eight that are drawn, with the pixels and logits that the exporter got.

They are drawn and not taken from a dataset, so that nobody's picture travels with a package.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from loreal_plugin.edge.layout import GOLDEN
from loreal_plugin.edge.package import Package
from loreal_plugin.edge.pixels import to_pixels
from loreal_plugin.files import write_bytes

COUNT = 8
# by how much logits may differ on another processor. It rounds floats differently; an activation
# near the border of two integers may then become the other one.
TOLERANCE = {"fp32": 1e-3, "fp16": 1e-3, "int8": 1.0, "int8-static": 1.0, "int4": 1.0}


def drawn_pictures(seed: int = 0) -> list[np.ndarray]:
    """Return eight colourful pictures (H, W, 3) uint8 of several shapes, the same every time."""
    rng = np.random.default_rng(seed)
    pictures = []
    for index in range(COUNT):
        height, width = (int(n) for n in rng.integers(48, 120, size=2))
        y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
        layers = []
        for _ in range(3):
            a, b, c = rng.uniform(1, 9 + 3 * index, size=3)
            layers.append(np.sin(a * x + b * y) + np.cos(c * x * y + rng.uniform(0, 6)))
        colours = 127 + 60 * np.stack(layers, axis=-1)
        pictures.append(np.clip(colours, 0, 255).astype(np.uint8))
    return pictures


def write_golden(package: Package) -> Path:
    """Write `golden.npz` of a package: what it gives on this machine; return its path."""
    pictures = drawn_pictures()
    recipe = package.manifest["picture"]
    pixels = np.stack([to_pixels(Image.fromarray(one), recipe) for one in pictures])
    named: dict[str, Any] = {f"picture_{index}": one for index, one in enumerate(pictures)}
    content = io.BytesIO()
    np.savez_compressed(content, **named, pixels=pixels, logits=package.logits(pixels))
    path = package.folder / GOLDEN
    write_bytes(path, content.getvalue())
    return path
