"""A positive control by construction: pictures whose class needs what the slots can say.

    python -m benchmarks.control --seeds 1 2 3 --write docs/METHOD.md

Nothing is drawn and no image encoder runs. A text encoder with slots gives each class a feature
T(y, c) for every combination c of attribute values, written into the slots as word embeddings. An
image of class y that shows c has the feature

    f = unit(unit(T(y) + SHIFT (m(y) - T(y)) + SPREAD (T(y, c) - m(y))) + noise)

where m(y) is the mean of T(y, c) over c and T(y) is the host's own prompt without slots. So what an
image shows moves its feature away from its class name: partly always in the same way (what one
prompt for all images can follow), partly by the values (what only a prompt that reads the image can
follow). Alpha's images have less noise than beta's: it sees the attributes better.

The margin between the rows is a property of the method: whether meta-nets find the values in a
feature, contents carry them into the text, and cross-entropy teaches both.

Shapes: C classes, V combinations of values, K attributes, N images, D_v joint width, D_t text
width.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from loreal_plugin.method.loreal import Loreal
from loreal_plugin.options import LorealOptions, resolve_options
from loreal_plugin.results.statistics import seed_interval
from loreal_plugin.students.build import start_meta_nets
from loreal_plugin.students.student import Student, with_slots

SHIFT, SPREAD = 1.5, 5.0


@dataclass(frozen=True)
class Recipe:
    """How images are made and meta-nets trained; the noises are of alpha's and beta's images."""

    noise_alpha: float = 0.2
    noise_beta: float = 0.4
    steps: int = 80
    batch: int = 16
    rate: float = 1e-2


class Control:
    """One set of classes: the features of their images, without noise, by class and values.

    Args:
        student: a host's student without slots; its image encoder is not used.
        words: the K attributes.
        values: the words that each attribute's content may be.
    """

    def __init__(self, student: Student, words: Sequence[str], values: Sequence[Sequence[str]]):
        self.student, self.words = student, tuple(words)
        self.slotted = with_slots(student, self.words, control_options(len(words)))
        contents = self._contents(values)
        with torch.no_grad():
            texts = [self.slotted.text_path(part) for part in contents.split(8)]
            prompts = student.prompts()
            plain = student.encode_text(prompts.embeddings, prompts.tokens)
        by_class = F.normalize(torch.cat(texts), dim=-1).transpose(0, 1)  # (C, V, D_v)
        self.plain = F.normalize(plain, dim=-1)  # (C, D_v)
        own, mean = self.plain[:, None], by_class.mean(1, keepdim=True)
        made = own + SHIFT * (mean - own) + SPREAD * (by_class - mean)
        self.features = F.normalize(made, dim=-1)  # (C, V, D_v)
        self.mean = self.features.flatten(0, 1).mean(0, keepdim=True)  # (1, D_v)

    def _contents(self, values: Sequence[Sequence[str]]) -> Tensor:
        """Return the contents (V, K, D_t) of every combination of values."""
        rows = {}
        for value in dict.fromkeys(itertools.chain(*values)):
            rows[value] = self.student.token_embedding(self.student.tokenize([value])[0][1])
        return torch.stack(
            [
                torch.stack([rows[value] for value in chosen])
                for chosen in itertools.product(*values)
            ]
        )

    def draw(
        self, n: int, noises: Sequence[float], generator: torch.Generator
    ) -> tuple[Any, Tensor]:
        """Return the features (N, 1, D_v) of n images under each noise, and their labels (N,)."""
        classes, combinations, width = self.features.shape
        labels = torch.randint(classes, (n,), generator=generator)
        shown = torch.randint(combinations, (n,), generator=generator)
        clean = self.features[labels, shown]
        seen = []
        for noise in noises:
            drawn = noise * torch.randn(n, width, generator=generator) / math.sqrt(width)
            seen.append(F.normalize(clean + drawn, dim=-1)[:, None])
        return seen, labels

    def model(self, options: LorealOptions, meta_nets: Any) -> Loreal:
        """Return LOREAL on these classes; both students have the same text encoder."""
        alpha, beta = (with_slots(self.student, self.words, options) for _ in range(2))
        alpha.mean = beta.mean = self.mean
        return Loreal(alpha, beta, meta_nets, options, fusion=False)


def control_options(n_attributes: int, **changes: Any) -> LorealOptions:
    """Return cross-entropy alone, each student reading itself, from the neutral start."""
    plain = {"drift": "none", "hld_weight": 0.0, "lld_weight": 0.0, "n_attributes": n_attributes}
    return resolve_options(plain | changes)


def train(control: Control, options: LorealOptions, recipe: Recipe, seed: int) -> Any:
    """Return meta-nets trained on images that are drawn anew for every step."""
    width = control.features.shape[-1]
    beta = with_slots(control.student, control.words, options)
    nets = start_meta_nets(beta, width, options, seed)
    model = control.model(options, nets)
    optimiser = torch.optim.AdamW(nets.parameters(), lr=recipe.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps)
    generator = torch.Generator().manual_seed(seed)
    noises = (recipe.noise_alpha, recipe.noise_beta)
    for step in range(recipe.steps):
        (alpha, beta_seen), labels = control.draw(recipe.batch, noises, generator)
        found, _ = model.losses(alpha, beta_seen, labels, step / recipe.steps)
        optimiser.zero_grad()
        found["loss"].backward()
        optimiser.step()
        schedule.step()
    return nets.requires_grad_(False)


@dataclass(frozen=True)
class Test:
    """Images to test on: beta's features (N, 1, D_v) and labels (N,)."""

    __test__ = False  # pytest would take the name for a test's

    control: Control
    features: Tensor
    labels: Tensor

    @torch.no_grad()
    def host(self) -> float:
        """Return the accuracy in percent of the host's own prompts."""
        student = self.control.student
        return self._right(student.logits(self.features, self.control.plain, False))

    @torch.no_grad()
    def loreal(self, options: LorealOptions, nets: Any, *, swapped: bool = False) -> float:
        """Return the accuracy in percent with slots.

        Args:
            swapped: every prompt is filled from another image.
        """
        model = self.control.model(options, nets)
        found = []
        for part in torch.arange(len(self.labels)).split(50):
            filled = self.features.roll(1, 0)[part] if swapped else self.features[part]
            contents = model.contents(model.beta, filled)
            found.append(model.logits(model.beta, self.features[part], contents, False))
        return self._right(torch.cat(found))

    def _right(self, logits: Tensor) -> float:
        return 100 * float((logits.argmax(1) == self.labels).double().mean())


def drawn_test(control: Control, recipe: Recipe, per_class: int, seed: int) -> Test:
    """Return test images, which no training draws."""
    generator = torch.Generator().manual_seed(10_000 + seed)
    n = per_class * len(control.features)
    (features,), labels = control.draw(n, (recipe.noise_beta,), generator)
    return Test(control, features, labels)


# ---- the table on the demonstration's text encoder -------------------------------------------

# what each row changes of cross-entropy alone, read by each student itself
BOTH = {"hld_weight": 1.0, "lld_weight": 2.0}
MUTUAL, RANDOM = {"hld_direction": "mutual"}, {"meta_init": "default"}
PLAIN = "instance conditioning"  # what the other rows are compared with
VARIANTS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "constant conditioning": {"constant_conditioning": True},
    "random start": RANDOM,
    "+ HLD": {"hld_weight": 1.0},
    "+ HLD, `mutual`": {"hld_weight": 1.0, **MUTUAL},
    "+ LLD": {"lld_weight": 2.0},
    "+ HLD and LLD": BOTH,
    "`BRIDGE cross`": {"bridge": "cross"},
    "`BRIDGE alpha_to_beta`": {"bridge": "alpha_to_beta"},
    "`BRIDGE mix`": {"bridge": "mix"},
    "`BRIDGE cross` + HLD and LLD": {"bridge": "cross", **BOTH},
    "the same, HLD `mutual`": {"bridge": "cross", **BOTH, **MUTUAL},
    "the same, HLD `mutual`, random start (the paper)": {
        "bridge": "cross",
        **BOTH,
        **MUTUAL,
        **RANDOM,
    },
}
DEMO = Recipe(noise_alpha=0.5, noise_beta=1.0, steps=150, batch=12, rate=5e-3)
PER_CLASS = 30


def demo_controls() -> tuple[Control, Control]:
    """Return the demonstration's base and new classes with its own words."""
    from loreal_plugin.attach import attach_host
    from loreal_plugin.attach.clip_source import using_weights
    from loreal_plugin.demo.world import NAMES, NUM_BASE, SLOT_ATTRIBUTES, VALUES
    from loreal_plugin.paths import embedded_host
    from loreal_plugin.runs.logs import quietly
    from loreal_plugin.students.build import build_student

    host = attach_host(embedded_host(), "coop")
    recipe = host.contract.recipe_file("demo", loreal=False)
    words = ["--trainer", "CoOp", "--config-file", str(recipe), "DATASET.NAME", "Demo"]
    values = [VALUES[name] for name in SLOT_ATTRIBUTES]

    def control(names: Sequence[str]) -> Control:
        with using_weights("demo"):
            cfg = host.setup_cfg(words)
            build = lambda: build_student(host, cfg, names, "cpu", input_size=224)  # noqa: E731
            return Control(quietly(build), SLOT_ATTRIBUTES, values)

    return control(NAMES[:NUM_BASE]), control(NAMES[NUM_BASE:])


Scores = list[list[float]]  # accuracies on base and new classes, a row a seed


def measure(seeds: Sequence[int]) -> list[str]:
    """Return the lines of the table: accuracy on base and new classes, and what each row adds."""
    base, new = demo_controls()
    tests = {s: [drawn_test(c, DEMO, PER_CLASS, s) for c in (base, new)] for s in seeds}
    lines, plain = [], None
    for title, changes in VARIANTS.items():
        options, scores = control_options(len(base.words), **changes), []
        for seed in seeds:
            nets = train(base, options, DEMO, seed)
            one = replace(options, bridge="self")
            scores.append([test.loreal(one, nets) for test in tests[seed]])
        plain = plain or scores
        lines.append(line(title, scores, plain))
        print(lines[-1], file=sys.stderr, flush=True)
    assert plain is not None
    host = [[test.host() for test in tests[seed]] for seed in seeds]
    return [line("the host's prompts", host, plain), *lines]


def line(title: str, scores: Scores, plain: Scores) -> str:
    """Return a row: means over seeds, and the difference from `plain`, seed by seed.

    The interval is Student's t of the differences: a seed draws its own start, training images and
    test images, and all rows of a seed share them.
    """
    cells = [f"{statistics.fmean(column):.1f}" for column in zip(*scores, strict=True)]
    for ours, theirs in zip(zip(*scores, strict=True), zip(*plain, strict=True), strict=True):
        apart = [a - b for a, b in zip(ours, theirs, strict=True)]
        found = seed_interval(apart)
        bounds = f" ({found.low:+.1f} to {found.high:+.1f})" if found else ""
        cells.append("" if scores is plain else f"{statistics.fmean(apart):+.1f}{bounds}")
    return f"| {title} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table, or write it into a page."""
    from loreal_plugin.cli.results import deliver

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--write", metavar="FILE", help="replace the part 'control' of a page")
    args = parser.parse_args()
    torch.set_num_threads(1)
    head = ["| what | base | new | base, difference | new, difference |", "|---|---|---|---|---|"]
    deliver("\n".join([*head, *measure(args.seeds)]), args.write, "control")


if __name__ == "__main__":
    main()
