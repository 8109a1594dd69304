"""Words for the pictures: captions as lists of words, each word one token of CLIP's own tokenizer.

A caption names the class (or says "thing") and may state attributes, each as content words followed
by the attribute's word: `red red color`. The three layouts are those in which a prompt with slots
can be written:

    class_first   a photo of a NAME with red red color low low place .
    slots_first   red red color low low place a photo of a NAME .
    ctx_first     a photo of a red red color low low place NAME .
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loreal_plugin.demo.world import ATTRIBUTES, NAMES, SLOT_ATTRIBUTES, VALUES

THING = "thing"
NEUTRAL = "some"  # stands where a value is not told, so that an empty slot has a word of its own
EMPHASIS = ("quite", "very")
PLAIN_TEMPLATE = ("a", "photo", "of", "a")
OTHER_TEMPLATES = tuple(
    tuple(text.split())
    for text in (
        "an image of a",
        "a picture of the",
        "a drawing of a",
        "a good clear photo of a small part of the",
        "a low quality close picture of one",
        "a",
    )
)
LAYOUTS = ("class_first", "slots_first", "ctx_first")
LAYOUT_SHARES = (0.7, 0.15, 0.15)
NUM_SLOT_VALUES = len(SLOT_ATTRIBUTES)


@dataclass(frozen=True)
class Style:
    """How a batch of captions is written: the layout, and how many content words a value gets."""

    layout: str = "class_first"
    repeats: int = 2

    @staticmethod
    def draw(rng: np.random.Generator) -> Style:
        """Returns a random style; mostly two content words, sometimes four (long captions)."""
        return Style(
            str(rng.choice(LAYOUTS, p=LAYOUT_SHARES)),
            int(rng.choice((1, 2, 4), p=(0.15, 0.75, 0.1))),
        )


def vocabulary(class_names: Sequence[str] = NAMES) -> list[str]:
    """Returns every word a caption may contain, without doubles."""
    words: list[str] = [
        *PLAIN_TEMPLATE,
        *sum(OTHER_TEMPLATES, ()),
        "with",
        ".",
        THING,
        NEUTRAL,
        *EMPHASIS,
    ]
    words += [*class_names, *ATTRIBUTES, *sum(VALUES.values(), ())]
    return list(dict.fromkeys(words))


def slot_words(attribute: str, contents: Sequence[str]) -> list[str]:
    """Returns the words of one slot: its content words, then the attribute."""
    return [*contents, attribute]


def true_slots(
    attributes: Sequence[int], repeats: int = 2, names: Sequence[str] = SLOT_ATTRIBUTES
) -> list[str]:
    """Returns the slots that state the true values of `names` for these eight value indices."""
    words: list[str] = []
    for name in names:
        value = VALUES[name][attributes[ATTRIBUTES.index(name)]]
        words += slot_words(name, [value] * repeats)
    return words


def assemble(
    name: str, slots: Sequence[str], layout: str, template: Sequence[str] = PLAIN_TEMPLATE
) -> list[str]:
    """Returns a whole caption; without slots all layouts are the same."""
    if not slots:
        return [*template, name, "."]
    if layout == "class_first":
        return [*template, name, "with", *slots, "."]
    if layout == "slots_first":
        return [*slots, *template, name, "."]
    if layout == "ctx_first":
        return [*template, *slots, name, "."]
    raise ValueError(f"unknown caption layout '{layout}'; there are: {', '.join(LAYOUTS)}")


def _contents(value: str, repeats: int, rng: np.random.Generator) -> list[str]:
    draw = rng.random()
    if draw < 0.08:
        return [NEUTRAL] * repeats
    if draw < 0.2 and repeats > 1:
        return [EMPHASIS[int(rng.integers(2))]] * (repeats - 1) + [value]
    return [value] * repeats


def random_slots(
    attributes: Sequence[int], names: Sequence[str], style: Style, rng: np.random.Generator
) -> list[str]:
    """Returns slots for the attributes `names`, shuffled half of the time."""
    names = sorted(names, key=ATTRIBUTES.index)
    if rng.random() < 0.5:
        names = [names[i] for i in rng.permutation(len(names))]
    words: list[str] = []
    for name in names:
        value = VALUES[name][attributes[ATTRIBUTES.index(name)]]
        words += slot_words(name, _contents(value, style.repeats, rng))
    return words


def _choose(rng: np.random.Generator, names: Sequence[str], low: int, high: int) -> list[str]:
    return [names[i] for i in rng.permutation(len(names))[: int(rng.integers(low, high + 1))]]


def random_caption(
    label: int,
    attributes: Sequence[int],
    style: Style,
    rng: np.random.Generator,
    bare_share: float,
    class_names: Sequence[str] = NAMES,
) -> list[str]:
    """Returns a caption of a picture: of its class, or of a thing where `label` is -1.

    A class is named alone in a share `bare_share` of the captions, otherwise with one to all of its
    slots, a fifth of these with an identity attribute besides.
    """
    template = (
        PLAIN_TEMPLATE
        if rng.random() < 0.6
        else OTHER_TEMPLATES[int(rng.integers(len(OTHER_TEMPLATES)))]
    )
    if label < 0:
        names = _choose(rng, ATTRIBUTES, 2, 5)
        return assemble(THING, random_slots(attributes, names, style, rng), style.layout, template)
    if rng.random() < bare_share:
        return assemble(class_names[label], [], style.layout, template)
    names = _choose(rng, SLOT_ATTRIBUTES, 1, NUM_SLOT_VALUES)
    if rng.random() < 0.2:
        names = [
            *names[:4],
            ATTRIBUTES[NUM_SLOT_VALUES + int(rng.integers(len(ATTRIBUTES) - NUM_SLOT_VALUES))],
        ]
    return assemble(
        class_names[label], random_slots(attributes, names, style, rng), style.layout, template
    )


def name_captions(class_names: Sequence[str] = NAMES) -> list[list[str]]:
    """Returns "a photo of a NAME ." for every class."""
    return [assemble(name, [], "class_first") for name in class_names]


def value_captions(attribute: str, repeats: int = 2) -> list[list[str]]:
    """Returns "a photo of a thing with VALUE VALUE ATTRIBUTE ." for every value of an attribute."""
    return [
        assemble(THING, slot_words(attribute, [value] * repeats), "class_first")
        for value in VALUES[attribute]
    ]
