"""Other renderings of the demonstration world: fresh, sketched, in other colours, cluttered.

A rendering draws a picture (S, S, 3) uint8 from eight value indices and a random stream, as
`render.draw` does. It shows the same values: what is red stays warm and reddish, a striped thing
stays striped.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from loreal_plugin.demo.render import BORDER_PIXELS, PALETTE, Palette, S, draw

Rendering = Callable[[np.ndarray, np.random.Generator, tuple[float, float]], np.ndarray]

# the same names of colours as another painter would mix them: paler, darker, off the pure hue
FADED = Palette(
    np.array(
        [
            (0.62, 0.22, 0.28),
            (0.78, 0.50, 0.28),
            (0.78, 0.76, 0.42),
            (0.88, 0.68, 0.74),
            (0.34, 0.52, 0.32),
            (0.28, 0.34, 0.62),
            (0.46, 0.28, 0.52),
            (0.36, 0.64, 0.66),
        ],
        np.float32,
    ),
    np.array(
        [(0.26, 0.44, 0.18), (0.76, 0.66, 0.52), (0.22, 0.34, 0.48), (0.90, 0.90, 0.92)], np.float32
    ),
    np.array([(0.14, 0.12, 0.18), (0.90, 0.88, 0.80), (0.34, 0.16, 0.08)], np.float32),
)

PAPER = 0.96  # brightness of the paper of a sketch
INK_GAIN = 3.0  # how much darkness one unit of local contrast gives
WASH = 0.65  # how much of the colours a sketch keeps
CLUTTER = (6, 10)  # number of things strewn around, least and most
CLUTTER_ZOOM = 0.75
FOG = 0.35  # how far a cluttered picture is faded towards grey


def natural(
    attributes: np.ndarray, rng: np.random.Generator, zoom: tuple[float, float]
) -> np.ndarray:
    """Return the picture as the world itself draws it."""
    return draw(attributes, rng, zoom)[0]


def faded(
    attributes: np.ndarray, rng: np.random.Generator, zoom: tuple[float, float]
) -> np.ndarray:
    """Return the picture in other, less saturated colours."""
    return draw(attributes, rng, zoom, FADED)[0]


def sketch(
    attributes: np.ndarray, rng: np.random.Generator, zoom: tuple[float, float]
) -> np.ndarray:
    """Return a drawing: dark lines where the picture changes, a pale wash of its colours."""
    picture = draw(attributes, rng, zoom)[0].astype(np.float32) / 255
    lightness = picture.mean(2)
    slope = np.zeros_like(lightness)
    slope[1:-1, 1:-1] = np.hypot(
        lightness[1:-1, 2:] - lightness[1:-1, :-2], lightness[2:, 1:-1] - lightness[:-2, 1:-1]
    )
    # the grain of the picture is below the offset, so the paper stays clean
    ink = np.clip((slope - 0.08) * INK_GAIN, 0, 1)[:, :, None]
    paper = PAPER * (1 - WASH) + picture * WASH
    return _to_bytes(paper * (1 - 0.9 * ink))


def cluttered(
    attributes: np.ndarray, rng: np.random.Generator, zoom: tuple[float, float]
) -> np.ndarray:
    """Return a smaller object in fog, with discs and bars of any colour strewn behind it."""
    far = (zoom[0] * CLUTTER_ZOOM, zoom[1] * CLUTTER_ZOOM)
    picture, coverage = draw(attributes, rng, far)
    image = picture.astype(np.float32) / 255
    free = (1 - coverage[0])[:, :, None]
    axis = np.arange(S, dtype=np.float32)
    for _ in range(int(rng.integers(CLUTTER[0], CLUTTER[1] + 1))):
        x, y = (axis[None, :] - rng.uniform(0, S)), (axis[:, None] - rng.uniform(0, S))
        size, slant = rng.uniform(6, 13), rng.uniform(-1, 1)
        if rng.random() < 0.5:
            inside = x * x + y * y < size * size
        else:
            inside = (np.abs(y - slant * x) < size / 3) & (np.abs(x) < 1.6 * size)
        color = PALETTE.colors[rng.integers(len(PALETTE.colors))]
        image += (inside[:, :, None] * free) * (color - image)
    edge = BORDER_PIXELS
    inner = image[edge:-edge, edge:-edge]
    inner += FOG * (0.6 - inner)
    rim = picture.astype(np.float32) / 255
    rim[edge:-edge, edge:-edge] = inner
    return _to_bytes(rim)


def _to_bytes(image: np.ndarray) -> np.ndarray:
    """Return a picture (S, S, 3) in [0, 1] as uint8."""
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)
