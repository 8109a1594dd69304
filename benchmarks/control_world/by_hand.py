"""Words written by hand into the slots of a finished run, and contents of other pictures.

They share the run's students, its host's learned context and its test pictures, so that they stand
beside its rows: what reading the picture could give, and whether what was learned is in the
contents.

Shapes: B pictures, K attributes, D_t width of a token embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.control_world import rules
from benchmarks.demo_world.captions import NEUTRAL
from benchmarks.demo_world.probes import accuracy
from loreal_plugin.demo import world
from loreal_plugin.demo.pictures import file_name
from loreal_plugin.method.loreal import Loreal
from loreal_plugin.pictures import read_picture
from loreal_plugin.runs.trained_run import TrainedRun

BATCH = 100
SLOTS = world.SLOT_ATTRIBUTES
HAND = {
    "a neutral word written by hand": (),
    "the true light written by hand": (rules.TELLS,),
    "all five true values written by hand": SLOTS,
}
SWAPPED = "instance conditioning, contents of another picture"


def contents_of(beta: Any, rows: Sequence[Any], told: Sequence[str]) -> Tensor:
    """Returns the contents (B, K, D_t) that say the true values of `told`, else a neutral word.

    Args:
        rows: the eight value indices of each picture.
    """
    words = {NEUTRAL, *(value for name in SLOTS for value in world.VALUES[name])}
    embedded = {w: beta.token_embedding(beta.tokenize([w])[0][1]) for w in sorted(words)}

    def one(row: Any, name: str) -> Tensor:
        value = world.VALUES[name][int(row[world.ATTRIBUTES.index(name)])]
        return embedded[value if name in told else NEUTRAL]

    return torch.stack([torch.stack([one(row, name) for name in SLOTS]) for row in rows])


def scored(model: Loreal, features: Tensor, contents: Tensor, targets: Tensor) -> float:
    """Returns the accuracy in percent of beta's prompts with these contents (B, K, D_t)."""
    parts = zip(features.split(BATCH), contents.split(BATCH), strict=True)
    logits = torch.cat([model.logits(model.beta, f, c, model.fusion) for f, c in parts])
    return accuracy(logits.argmax(1), targets)


@torch.no_grad()
def of_half(run: TrainedRun, data: Path, half: str) -> dict[str, float]:
    """Returns the accuracies in percent of a run on half the test pictures below DATA."""
    names = run.names_of(half)
    model = run.model(names, run.words_for(names))
    see = run.transform(model.beta.cfg, run.phi)  # type: ignore[attr-defined]
    keys = list(rules.keys("test", half))
    rows = [rules.picture(*key)[0] for key in keys]
    targets = torch.tensor([rules.label_of(row, half) for row in rows])
    place: Callable[[str, int, int], Path] = lambda part, label, index: (  # noqa: E731
        data / rules.NAME / part / rules.NAMES[label] / file_name(index)
    )
    features = torch.cat(
        [
            model.embed(torch.stack([see(read_picture(place(*key))) for key in part]))
            for part in (keys[i : i + BATCH] for i in range(0, len(keys), BATCH))
        ]
    )
    found = {
        title: scored(model, features, contents_of(model.beta, rows, told), targets)
        for title, told in HAND.items()
    }
    order = torch.randperm(len(keys), generator=torch.Generator().manual_seed(0))
    learned = model.contents(model.beta, features)
    found[SWAPPED] = scored(model, features, learned[order], targets)
    return found


def by_hand(folder: Path, data: Path) -> dict[str, list[float]]:
    """Returns accuracies on base and new test pictures by title, of the run in a folder."""
    run = TrainedRun.open(folder)
    halves = [of_half(run, data, half) for half in rules.HALVES]
    return {title: [found[title] for found in halves] for title in halves[0]}
