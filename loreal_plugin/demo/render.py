"""Draws a picture of the demonstration world from its attributes.

All drawing is elementwise numpy on float32 planes; shapes are signed distances with a soft edge. A
picture depends on its attributes and its own random stream only, so any process may draw any
picture at any time.

Shapes: S = IMAGE_SIZE; pictures are (S, S, 3) uint8, planes (S, S) float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from loreal_plugin.demo import world

S = world.IMAGE_SIZE
BORDER_PIXELS = 12
NOISE_LEVEL = 0.015
EDGE_PIXELS = 1.5
BLOBS = 7  # soft blobs of a background along one side


@dataclass(frozen=True)
class Palette:
    """Red, green, blue in [0, 1] of all colours (8, 3), grounds (4, 3) and borders (3, 3)."""

    colors: np.ndarray
    grounds: np.ndarray
    borders: np.ndarray


PALETTE = Palette(
    np.array(
        [
            (0.85, 0.12, 0.12),
            (0.95, 0.52, 0.08),
            (0.93, 0.90, 0.15),
            (0.97, 0.55, 0.75),
            (0.15, 0.65, 0.20),
            (0.15, 0.25, 0.85),
            (0.50, 0.15, 0.70),
            (0.15, 0.78, 0.82),
        ],
        np.float32,
    ),
    np.array(
        [(0.36, 0.50, 0.30), (0.66, 0.58, 0.40), (0.34, 0.46, 0.62), (0.80, 0.82, 0.84)], np.float32
    ),
    np.array([(0.04, 0.04, 0.04), (0.97, 0.97, 0.97), (0.42, 0.26, 0.14)], np.float32),
)


@lru_cache(maxsize=1)
def _noise_sheet() -> np.ndarray:
    """Return one fixed (3, 2S, 2S) sheet of noise; each picture shows a window of it."""
    sheet = np.random.default_rng(world.WORLD_VERSION).standard_normal(
        (3, 2 * S, 2 * S), dtype=np.float32
    )
    return sheet * NOISE_LEVEL


@lru_cache(maxsize=1)
def _blob_basis() -> np.ndarray:
    """Return the (S, BLOBS) matrix of linear interpolation from a coarse grid to pixels."""
    position = np.clip((np.arange(S) + 0.5) * BLOBS / S - 0.5, 0, BLOBS - 1)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(BLOBS))).astype(np.float32)


def _background(ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a (3, S, S) ground of the colour `ground` (3,), with a gradient and soft blobs."""
    color = ground + rng.standard_normal(3, dtype=np.float32) * 0.03
    angle, slope = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.12) / (S / 2)
    axis = np.arange(S, dtype=np.float32) - S / 2
    plane = (
        axis * np.float32(math.cos(angle) * slope)
        + (axis * np.float32(math.sin(angle) * slope))[:, None]
    )
    blobs = rng.standard_normal((BLOBS, BLOBS), dtype=np.float32) * np.float32(0.05)
    plane += _blob_basis() @ blobs @ _blob_basis().T
    return color[:, None, None] + plane


def _shape_distance(shape: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the signed distance of (u, v), in units of the object's size; negative is inside."""
    a, b = np.abs(u), np.abs(v)
    name = world.VALUES["shape"][shape]
    if name == "circle":
        return np.sqrt(u * u + v * v) - 0.92
    if name == "square":
        return np.maximum(a, b) - 0.82
    if name == "triangle":
        return np.maximum(v - 0.7, a * 0.866 - v * 0.5 - 0.6)
    if name == "plus":
        return np.minimum(np.maximum(a - 1.0, b - 0.36), np.maximum(a - 0.36, b - 1.0))
    if name == "ring":
        return np.abs(np.sqrt(u * u + v * v) - 0.74) - 0.27
    return np.maximum(a - 1.15, b - 0.46)


def _pattern(
    pattern: int, x: np.ndarray, y: np.ndarray, period: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the brightness of a pattern at columns `x` (1, W), rows `y` (H, 1): (H, W) or one."""
    w = np.float32(2 * math.pi / period)
    phase_x, phase_y = rng.uniform(0, 2 * math.pi, 2).astype(np.float32)
    slant = 1 if rng.random() < 0.5 else -1
    name = world.VALUES["pattern"][pattern]
    if name == "plain":
        return np.full((1, 1), 0.75, np.float32)
    if name == "striped":
        wave = np.sin(w * y + phase_y)
    elif name == "lined":
        wave = np.sin(w * x + phase_x)
    elif name == "checked":
        wave = np.sin(w * x + phase_x) * np.sin(w * y + phase_y) * 1.6
    elif name == "dotted":
        wave = np.where(
            np.sin(w * x + phase_x) + np.sin(w * y + phase_y) > 0.8, np.float32(1), np.float32(-1)
        )
    else:
        wave = np.sin(w * np.float32(math.sqrt(0.5)) * (x + slant * y) + phase_x)
    return 0.72 + 0.28 * np.clip(2 * wave, -1, 1)


def _mark_distance(mark: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the signed distance of points (x, y), in pixels at zoom 1, to a mark."""
    name = world.VALUES["mark"][mark]
    radius = np.sqrt(x * x + y * y)
    if name == "spot":
        return radius - 10
    if name == "cross":
        arms = np.minimum(np.abs(x + y), np.abs(x - y)) * np.float32(math.sqrt(0.5))
        return np.maximum(arms - 3.2, radius - 16)
    if name == "hoop":
        return np.abs(radius - 12) - 3.2
    return np.maximum(np.abs(x) - 17, np.abs(y) - 4) + 0 * radius


def _window(center: float, reach: float) -> slice:
    """Return the rows or columns of a picture within `reach` of `center`."""
    return slice(max(0, int(center - reach)), min(S, int(center + reach) + 2))


def _paint_object(
    image: np.ndarray,
    coverage: np.ndarray,
    attributes: dict[str, int],
    zoom: float,
    rng: np.random.Generator,
    palette: Palette,
) -> None:
    """Paint object and mark into `image` (3, S, S), their masks into `coverage` (2, S, S)."""
    sign = -1 if attributes["place"] == 0 else 1
    cx, cy = S / 2 + rng.uniform(-20, 20), S / 2 + sign * rng.uniform(20, 38)
    size, angle = rng.uniform(52, 64) * zoom, rng.uniform(-0.08, 0.08)
    color = palette.colors[attributes["color"]] + rng.standard_normal(3, dtype=np.float32) * 0.04
    rows, cols = _window(cy, 1.3 * size), _window(cx, 1.3 * size)
    px, py = np.arange(S, dtype=np.float32)[None, cols], np.arange(S, dtype=np.float32)[rows, None]
    # columns and rows from the object's centre; below turned by its angle, in units of its size
    x, y = px - np.float32(cx), py - np.float32(cy)
    cos, sin = np.float32(math.cos(angle) / size), np.float32(math.sin(angle) / size)
    distance = _shape_distance(attributes["shape"], x * cos + y * sin, y * cos - x * sin)
    mask = np.clip(0.5 - distance * np.float32(size / EDGE_PIXELS), 0, 1)
    light = _pattern(attributes["pattern"], px, py, rng.uniform(8, 10) * zoom, rng)
    view = image[:, rows, cols]
    coverage[0, rows, cols] = mask
    view += mask * (color[:, None, None] * light - view)
    mark_x, mark_y = rng.uniform(-6, 6, 2).astype(np.float32)
    if attributes["mark"] > 0:
        scale = np.float32(1 / (1.35 * zoom))
        edge = _mark_distance(attributes["mark"], x * scale - mark_x, y * scale - mark_y)
        # a dark rim around the mark, so that the white mark shows on any colour
        view *= 1 - np.clip(0.5 - (edge - 2) * np.float32(zoom), 0, 1)
        stroke = np.clip(0.5 - edge * np.float32(zoom), 0, 1)
        coverage[1, rows, cols] = stroke
        view += stroke * (1 - view)


def draw(
    attributes: np.ndarray,
    rng: np.random.Generator,
    zoom_range: tuple[float, float],
    palette: Palette = PALETTE,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture (S, S, 3) uint8 of eight value indices; `rng` decides everything else.

    The second array (2, S, S) says in [0, 1] how much of each pixel the object and its mark cover.
    """
    named = dict(zip(world.ATTRIBUTES, (int(value) for value in attributes), strict=True))
    zoom = math.exp(rng.uniform(math.log(zoom_range[0]), math.log(zoom_range[1])))
    image = _background(palette.grounds[named["ground"]], rng)
    coverage = np.zeros((2, S, S), np.float32)
    _paint_object(image, coverage, named, zoom, rng, palette)
    image *= np.float32(rng.uniform(1.0, 1.15) if named["light"] == 0 else rng.uniform(0.6, 0.72))
    border = palette.borders[named["border"]][:, None, None]
    for edge in (np.s_[:, :BORDER_PIXELS], np.s_[:, -BORDER_PIXELS:]):
        image[edge] = border
        image.transpose(0, 2, 1)[edge] = border
    top, left = rng.integers(0, S, 2)
    image += _noise_sheet()[:, top : top + S, left : left + S]
    np.clip(image, 0, 1, out=image)
    image *= 255
    return np.ascontiguousarray(image.astype(np.uint8).transpose(1, 2, 0)), coverage


def draw_picture(split: str, label: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return picture `index` of class `label` in `split` (S, S, 3) and its eight value indices."""
    rng = world.picture_rng(split, label, index)
    attributes = world.sample_attributes(label, rng)
    return draw(attributes, rng, world.get_pool(split).zoom)[0], attributes


def picture_attributes(split: str, label: int, index: int) -> np.ndarray:
    """Return the eight value indices of a picture without drawing it."""
    return world.sample_attributes(label, world.picture_rng(split, label, index))
