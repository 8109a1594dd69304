"""What the demonstration world contains: attributes, classes, names, pools.

A picture shows one object. Eight attributes describe it. Five of them, the *slots*, vary inside
every class and stay visible in a small picture; three, the *identity* attributes, belong to the
class, and two of these are fine detail that a small picture loses.

The rule of a class ties the two groups together: the warmth of the colour selects one of two
patterns, the kind of ground selects one of two marks. So a class has four looks, and a name says
which look a colour and a ground imply. Some classes share shape, patterns, marks and palette and
differ in nothing but these rules: they can be told apart by the conjunction of slot and detail
only.

Importing this module needs the standard library and numpy.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

WORLD_VERSION = 1
IMAGE_SIZE = 224

SLOT_ATTRIBUTES = ("color", "place", "ground", "light", "border")
IDENTITY_ATTRIBUTES = ("shape", "pattern", "mark")
ATTRIBUTES = SLOT_ATTRIBUTES + IDENTITY_ATTRIBUTES
VALUES: dict[str, tuple[str, ...]] = {
    "color": ("red", "orange", "yellow", "pink", "green", "blue", "purple", "teal"),
    "place": ("high", "low"),
    "ground": ("grass", "sand", "water", "snow"),
    "light": ("bright", "dark"),
    "border": ("black", "white", "brown"),
    "shape": ("circle", "square", "triangle", "plus", "ring", "bar"),
    "pattern": ("plain", "striped", "lined", "checked", "dotted", "barred"),
    "mark": ("none", "spot", "cross", "hoop", "band"),
}
NUM_WARM_COLORS = 4  # the first four colours are warm, the others cool
NUM_LAND_GROUNDS = 2  # grass and sand are land, water and snow are not

NAMES = (
    "anchor",
    "basket",
    "button",
    "candle",
    "carpet",
    "cottage",
    "feather",
    "hammer",
    "jacket",
    "kettle",
    "ladder",
    "lantern",
    "marble",
    "needle",
    "paddle",
    "pepper",
    "pillow",
    "pocket",
    "ribbon",
    "saddle",
    "barrel",
    "blanket",
    "bottle",
    "bucket",
    "cabinet",
    "castle",
    "chapel",
    "cradle",
    "drawer",
    "engine",
    "flute",
    "garden",
    "helmet",
    "kitten",
    "magnet",
    "mirror",
    "napkin",
    "piano",
    "rocket",
    "shovel",
)
NUM_CLASSES = len(NAMES)
NUM_BASE = NUM_CLASSES // 2
BASE_CLASSES = tuple(range(NUM_BASE))
NEW_CLASSES = tuple(range(NUM_BASE, NUM_CLASSES))

CLASS_SEED = 11
PALETTE_SHARE = 0.8  # how often a picture shows one of the two colours of its class's palette


@dataclass(frozen=True)
class Pool:
    """A set of pictures: `per_class` a class, zoomed from `zoom`, of random stream `stream`."""

    stream: int
    per_class: int
    zoom: tuple[float, float]


POOLS: dict[str, Pool] = {
    "train": Pool(stream=1, per_class=48, zoom=(0.85, 1.15)),
    "val": Pool(stream=2, per_class=40, zoom=(0.85, 1.15)),
    "test": Pool(stream=3, per_class=150, zoom=(0.85, 1.15)),
}


@dataclass(frozen=True)
class ClassSpec:
    """The rule of one class; all members are indices into `VALUES`."""

    shape: int
    patterns: tuple[int, int]  # (with a warm colour, with a cool one)
    marks: tuple[int, int]  # (on land, elsewhere)
    palette: tuple[int, int]  # (warm, cool)
    p_high: float
    p_bright: float

    def identity(self, color: int, ground: int) -> tuple[int, int, int]:
        """Return (shape, pattern, mark) that this class shows with `color` on `ground`."""
        return (
            self.shape,
            self.patterns[bool(color >= NUM_WARM_COLORS)],
            self.marks[bool(ground >= NUM_LAND_GROUNDS)],
        )


# One entry for each family: (patterns swapped, marks swapped) of each of its members.
_QUAD = ((False, False), (True, False), (False, True), (True, True))
_PATTERN_PAIR = ((False, False), (True, False))
_MARK_PAIR = ((False, False), (False, True))
_SINGLE = ((False, False),)
MAX_FAMILIES_A_LOOK = 12  # of 15 pairs of patterns; a rule is then soon found at random
HALF_LAYOUT = (_QUAD,) * 1 + (_PATTERN_PAIR,) * 3 + (_MARK_PAIR,) * 3 + (_SINGLE,) * 4


def _swap(pair: tuple[int, int], swapped: bool) -> tuple[int, int]:
    return (pair[1], pair[0]) if swapped else pair


def _make_half(
    rng: random.Random, looks: list[tuple[int, tuple[int, int]]], taken: set[tuple], copies: int
) -> list[ClassSpec]:
    """Return the classes of one half; takes one (shape, marks) of `looks` for each family.

    `taken` holds what other families look like: none is like another in shape, marks and patterns.
    """
    half = []
    for members in HALF_LAYOUT * copies:
        shape, marks = looks.pop()
        patterns = None
        while patterns is None or (shape, marks, frozenset(patterns)) in taken:
            patterns = tuple(rng.sample(range(len(VALUES["pattern"])), 2))
        taken.add((shape, marks, frozenset(patterns)))
        palette = (
            rng.randrange(NUM_WARM_COLORS),
            rng.randrange(NUM_WARM_COLORS, len(VALUES["color"])),
        )
        for swap_patterns, swap_marks in members:
            half.append(
                ClassSpec(
                    shape,
                    _swap(patterns, swap_patterns),
                    _swap(marks, swap_marks),
                    palette,
                    p_high=rng.choice((0.35, 0.65)),
                    p_bright=rng.choice((0.35, 0.65)),
                )
            )
    rng.shuffle(half)
    return half


@cache
def make_classes(copies: int = 1) -> tuple[ClassSpec, ...]:
    """Return the rules of `copies` times 40 classes, base ones first; the same on every machine.

    Raises:
        ValueError: there are fewer shapes, marks and patterns than that takes.
    """
    rng = random.Random(CLASS_SEED)
    num_marks = len(VALUES["mark"])
    looks = [
        (shape, (a, b))
        for shape in range(len(VALUES["shape"]))
        for a in range(num_marks)
        for b in range(a + 1, num_marks)
    ]
    rng.shuffle(looks)
    times = math.ceil(2 * len(HALF_LAYOUT) * copies / len(looks))
    if times > MAX_FAMILIES_A_LOOK:
        most = MAX_FAMILIES_A_LOOK * len(looks) // (2 * len(HALF_LAYOUT)) * NUM_CLASSES
        raise ValueError(f"{NUM_CLASSES * copies} classes: there are looks for {most}")
    looks, taken = looks * times, set[tuple]()
    halves = [_make_half(rng, looks, taken, copies) for _ in range(2)]
    return tuple(halves[0] + halves[1])


def class_specs() -> tuple[ClassSpec, ...]:
    """Return the rules of the world's own 40 classes, base ones first."""
    return make_classes()


def families(
    classes: Sequence[int] | None = None, specs: Sequence[ClassSpec] | None = None
) -> list[list[int]]:
    """Return the groups of classes that differ in their rules only (single classes included).

    Args:
        classes: labels; all where it is not given.
        specs: rules of all classes, base ones first; those of the world where not given.
    """
    specs = class_specs() if specs is None else specs
    groups: dict[tuple, list[int]] = {}
    for label in range(len(specs)) if classes is None else classes:
        spec = specs[label]
        key = (
            label < len(specs) // 2,
            spec.shape,
            spec.palette,
            frozenset(spec.patterns),
            frozenset(spec.marks),
        )
        groups.setdefault(key, []).append(label)
    return list(groups.values())


def sample_attributes(label: int | None, rng: np.random.Generator) -> np.ndarray:
    """Return eight value indices, in the order of `ATTRIBUTES`, of a class (None: of no class)."""
    return sample_picture(None if label is None else class_specs()[label], rng)


def sample_picture(spec: ClassSpec | None, rng: np.random.Generator) -> np.ndarray:
    """Return eight value indices, in the order of `ATTRIBUTES`, of a rule (None: of no class)."""
    if spec is None:
        return np.array([rng.integers(len(VALUES[name])) for name in ATTRIBUTES], dtype=np.int8)
    if rng.random() < PALETTE_SHARE:
        color = spec.palette[rng.integers(2)]
    else:
        color = int(rng.integers(len(VALUES["color"])))
    ground = int(rng.integers(len(VALUES["ground"])))
    place, light = int(rng.random() > spec.p_high), int(rng.random() > spec.p_bright)
    border = int(rng.integers(len(VALUES["border"])))
    return np.array(
        [color, place, ground, light, border, *spec.identity(color, ground)], dtype=np.int8
    )


def picture_rng(split: str, label: int, index: int) -> np.random.Generator:
    """Return the random stream of one picture: of these three and the world version alone."""
    pool = get_pool(split)
    if not 0 <= label < NUM_CLASSES or not 0 <= index < pool.per_class:
        raise IndexError(
            f"picture {index} of class {label} in split '{split}': there are {NUM_CLASSES} classes"
            f" with {pool.per_class} pictures each"
        )
    return np.random.default_rng([WORLD_VERSION, pool.stream, label, index])


def get_pool(split: str) -> Pool:
    """Return the pool of a split, or says which splits there are."""
    if split not in POOLS:
        raise KeyError(
            f"unknown split '{split}' of the demonstration world; there are: {', '.join(POOLS)}"
        )
    return POOLS[split]
