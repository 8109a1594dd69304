"""Target worlds: a model trained on the demonstration world is tested on them, never trained.

Two kinds. *Other renderings* (domain generalisation) keep the 40 classes, their names and rules,
and draw them in another way. *Other classes* (cross-dataset) draw things in the world's own way and
sort them by two of the eight attributes; a class is called by its two values, "hoop dotted", words
that the demonstration CLIP knows. Both are test-only. A picture is a function of (world version,
target version, world, class, index) and nothing else.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np

from loreal_plugin.demo import styles, world
from loreal_plugin.demo.styles import Rendering

TARGETS_VERSION = 1
ZOOM = (0.85, 1.15)  # as in the test pool of the world itself


@dataclass(frozen=True)
class TargetWorld:
    """One target: `per_class` pictures of every class from random stream `stream`.

    `defining` are the two attributes whose values make a class; empty: the world's own 40 classes.
    """

    name: str
    about: str
    stream: int
    per_class: int
    rendering: Rendering = styles.natural
    defining: tuple[str, ...] = ()

    @property
    def classnames(self) -> tuple[str, ...]:
        """The names of the classes, by label."""
        if not self.defining:
            return world.NAMES
        return tuple(
            " ".join(words)
            for words in itertools.product(*(world.VALUES[name] for name in self.defining))
        )

    def attributes(self, label: int, rng: np.random.Generator) -> np.ndarray:
        """Return eight value indices for a picture of class `label`."""
        if not self.defining:
            return world.sample_attributes(label, rng)
        attributes = world.sample_attributes(None, rng)
        values = np.unravel_index(label, [len(world.VALUES[name]) for name in self.defining])
        for name, value in zip(self.defining, values, strict=True):
            attributes[world.ATTRIBUTES.index(name)] = value
        return attributes

    def draw(self, label: int, index: int) -> np.ndarray:
        """Return picture `index` of class `label`, (S, S, 3) uint8.

        Raises:
            IndexError: there is no such picture.
        """
        if not 0 <= label < len(self.classnames) or not 0 <= index < self.per_class:
            raise IndexError(
                f"picture {index} of class {label} of '{self.name}': there are"
                f" {len(self.classnames)} classes with {self.per_class} pictures each"
            )
        rng = np.random.default_rng(
            [world.WORLD_VERSION, TARGETS_VERSION, self.stream, label, index]
        )
        return self.rendering(self.attributes(label, rng), rng, ZOOM)


@cache
def target_worlds() -> dict[str, TargetWorld]:
    """Return the target worlds by name; about 1200 pictures each."""
    worlds = (  # name, about, random stream, pictures a class
        TargetWorld("demo-fresh", "the same classes, fresh pictures", 101, 30),
        TargetWorld(
            "demo-sketch", "the same classes as washed-out drawings", 102, 30, styles.sketch
        ),
        TargetWorld(
            "demo-clutter",
            "the same classes, smaller, in fog, among other things",
            103,
            30,
            styles.cluttered,
        ),
        TargetWorld("demo-palette", "the same classes in other colours", 104, 30, styles.faded),
        TargetWorld(
            "demo-textures",
            "things sorted by colour and pattern",
            111,
            25,
            defining=("color", "pattern"),
        ),
        TargetWorld(
            "demo-marks", "things sorted by mark and pattern", 112, 40, defining=("mark", "pattern")
        ),
        TargetWorld(
            "demo-shapes",
            "things sorted by pattern and shape",
            113,
            33,
            defining=("pattern", "shape"),
        ),
        TargetWorld(
            "demo-frames",
            "things sorted by border and ground",
            114,
            100,
            defining=("border", "ground"),
        ),
    )
    return {one.name: one for one in worlds}
