"""What the words of a picture are worth on the control world, before any training of a host.

The design of the world rests on these numbers and on the host's rows alone.

Shapes: N pictures, C classes of a half, E joint width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.control_world import rules
from benchmarks.control_world.tuning import encode
from benchmarks.demo_world import captions, probes
from benchmarks.demo_world.checker import load_check_model
from benchmarks.demo_world.tokens import token_table
from benchmarks.demo_world.towers import encode_text
from loreal_plugin.demo import world

SIZES = (96, 224)
# title -> whose values the words tell ("own", "another" picture's, "none": a neutral word), of what
WORDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "the name alone": ("own", ()),
    "the true light": ("own", (rules.TELLS,)),
    "the true values of all five": ("own", world.SLOT_ATTRIBUTES),
    "a neutral word for all five": ("none", world.SLOT_ATTRIBUTES),
    "the light of another picture": ("another", (rules.TELLS,)),
}


def said(attributes: np.ndarray, whose: str, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Returns the slots' words of each picture, of value indices (N, 8)."""
    if whose == "another":
        attributes = attributes[np.random.default_rng(0).permutation(len(attributes))]
    if whose == "none":
        one = [w for name in names for w in captions.slot_words(name, [captions.NEUTRAL] * 2)]
        return [tuple(one)] * len(attributes)
    return [tuple(captions.true_slots(row, names=names)) for row in attributes]


@torch.no_grad()
def guess(model: nn.Module, features: Tensor, words: list[tuple[str, ...]], half: str) -> Tensor:
    """Returns the class (N,) of a half whose caption, with a picture's words, is nearest."""
    names = [rules.NAMES[label] for label in rules.HALVES[half]]
    rows: dict[tuple[str, ...], list[int]] = {}
    for index, one in enumerate(words):
        rows.setdefault(one, []).append(index)
    found = torch.empty(len(features), dtype=torch.long)
    for one, where in rows.items():  # a caption is encoded once for all pictures that need it
        texts = [captions.assemble(name, list(one), "class_first") for name in names]
        text = encode_text(model, token_table().encode_full(texts))  # (C, E)
        found[where] = (features[where] @ text.T).argmax(1)
    return found


class Oracle:
    """The tuned CLIP and features of the world's pictures."""

    def __init__(self, weights: Path, per_class: int | None = None) -> None:
        self.model, self.per_class = load_check_model(weights), per_class

    def seen(self, part: str, half: str, size: int) -> tuple[Tensor, Tensor, np.ndarray]:
        """Returns features (N, E), classes (N,) and value indices (N, 8) of half a part."""
        keys = list(rules.keys(part, half, self.per_class))
        features, attributes = encode(self.model, keys, size)
        return features, torch.tensor([rules.label_of(r, half) for r in attributes]), attributes

    def scores(self, size: int) -> dict[str, tuple[float, float]]:
        """Returns accuracies in percent on base and new test pictures for each choice of words."""
        found: dict[str, list[float]] = {title: [] for title in WORDS}
        for half in rules.HALVES:
            features, targets, attributes = self.seen("test", half, size)
            for title, choice in WORDS.items():
                predicted = guess(self.model, features, said(attributes, *choice), half)
                found[title].append(probes.accuracy(predicted, targets))
        return {title: (base, new) for title, (base, new) in found.items()}

    def read(self, size: int) -> dict[str, float]:
        """Returns how well a linear probe reads features of base test pictures, in percent."""
        (x, y, a), (xt, yt, at) = (self.seen(part, "base", size) for part in ("train", "test"))
        columns = {n: world.ATTRIBUTES.index(n) for n in (rules.TELLS, rules.IDENTITY)}
        tasks = {n: (torch.from_numpy(a[:, c]).long(), at[:, c]) for n, c in columns.items()}
        tasks["class"] = (y, yt.numpy())
        found = {}
        for name, (targets, tests) in tasks.items():
            predicted = probes.linear_probe(x, targets, xt, int(targets.max()) + 1, 1e-3)
            found[name] = probes.accuracy(predicted, torch.from_numpy(tests).long())
        return found


def table(weights: Path) -> list[str]:
    """Returns the scores as lines of markdown."""
    oracle = Oracle(weights)
    scores = {size: oracle.scores(size) for size in SIZES}
    lines = [
        "| the prompt says | " + " | ".join(f"base, new at {size}" for size in SIZES) + " |",
        "|---|" + "---|" * len(SIZES),
    ]
    for title in WORDS:
        cells = [f"{base:.1f}, {new:.1f}" for base, new in (scores[s][title] for s in SIZES)]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    for size in SIZES:
        read = ", ".join(f"{name} {value:.1f}" for name, value in oracle.read(size).items())
        lines += ["", f"A linear probe reads of base pictures at {size}, in per cent: {read}."]
    return lines
