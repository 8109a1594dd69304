"""The classes of the control world, and its pictures.

A class is a rule: it shows one pattern in a bright picture and another in a dark one, and its
partner shows the two the other way round. All else is drawn at random, alike for every class. So a
name that says its patterns leaves two classes; only with the light does it say which one. A small
picture keeps the light. Base and new classes pair the same six patterns in different ways, and each
half has every combination of pattern and light once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from loreal_plugin.demo import render, world
from loreal_plugin.demo.pictures import as_jpeg, fill_folder

NAME = "demo-control"  # of the dataset: a folder of DATA
CONTROL_VERSION = 1
STREAM = 41  # its pictures' random stream, apart from those of the demonstration world
ZOOM = (0.85, 1.15)
TELLS = "light"  # the attribute without which a name is ambiguous
IDENTITY = "pattern"

PAIRS = (((0, 1), (2, 3), (4, 5)), ((0, 2), (1, 4), (3, 5)))  # of patterns: base, new
# what a class shows (when bright, when dark); partners stand beside each other
RULES = tuple(rule for half in PAIRS for pair in half for rule in (pair, pair[::-1]))
PER_HALF = len(RULES) // 2
NAMES = world.NAMES[: len(RULES)]  # sorted, so labels follow this order
HALVES = {"base": range(PER_HALF), "new": range(PER_HALF, len(RULES))}
# pictures a class; the CLIP is tuned on others
PARTS = {"train": 64, "val": 8, "test": 150}
TUNING = "tuning"
_STREAMS = {TUNING: 0, "train": 1, "val": 2, "test": 3}

_LIGHT, _PATTERN = world.ATTRIBUTES.index(TELLS), world.ATTRIBUTES.index(IDENTITY)


def label_of(attributes: np.ndarray, half: str) -> int:
    """Returns the class of a half, counted from its first one, that shows these eight values."""
    shown = int(attributes[_LIGHT])
    rules = [RULES[label] for label in HALVES[half]]
    return next(i for i, rule in enumerate(rules) if rule[shown] == attributes[_PATTERN])


def picture(part: str, label: int | None, index: int) -> tuple[np.ndarray, np.random.Generator]:
    """Returns the eight value indices of a picture, and the random stream that draws the rest.

    Args:
        label: its class; None: any values (pictures that the CLIP is tuned on).
    """
    seed = [world.WORLD_VERSION, STREAM, CONTROL_VERSION, _STREAMS[part]]
    rng = np.random.default_rng([*seed, 0 if label is None else label + 1, index])
    attributes = world.sample_attributes(None, rng)
    if label is not None:
        attributes[_PATTERN] = RULES[label][int(attributes[_LIGHT])]
    return attributes, rng


def jpeg(part: str, label: int | None, index: int) -> bytes:
    """Returns the JPEG file of a picture."""
    attributes, rng = picture(part, label, index)
    return as_jpeg(render.draw(attributes, rng, ZOOM)[0])


def keys(part: str, half: str, per_class: int | None = None) -> Iterator[tuple[str, int, int]]:
    """Yields part, label and index of the pictures of half a part, by class."""
    for label in HALVES[half]:
        for index in range(per_class or PARTS[part]):
            yield part, label, index


def write_pictures(data: Path) -> Path:
    """Writes the pictures that are missing below DATA, `<part>/<class>/<index>.jpg`.

    Returns:
        The folder of the dataset.
    """
    version = [world.WORLD_VERSION, CONTROL_VERSION]
    for part, count in PARTS.items():
        for label, name in enumerate(NAMES):

            def encode(index: int, part: str = part, label: int = label) -> bytes:
                return jpeg(part, label, index)

            fill_folder(data / NAME / part / name, count, encode, part, version)
    return data / NAME
