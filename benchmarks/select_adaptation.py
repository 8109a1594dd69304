"""Tries settings of the adapted image side on held-out halves of the base classes.

    python benchmarks/select_adaptation.py 96 views=32,epochs=3 views=16,epochs=6 rank=16

Zero-shot CLIP is adapted on the training pictures of half of the demonstration's base classes
(`demo-heldout`), and tested on both halves; no test picture and no new class of `demo` is read.
With `--sizes 192,144,96` one pupil reads all these sizes, each batch at one of them, and is tested
at each; phi is then not read. Every trial is one JSON line on the terminal and in
`output/adaptation.jsonl`. The HM's standard error over pictures is about 1.3 points.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from loreal_plugin.adapt.settings import AdaptSettings
from loreal_plugin.adapt.shards import Shards
from loreal_plugin.adapt.tower import Tower, adapt
from loreal_plugin.adapt.tower_plan import read_sizes
from loreal_plugin.adapt.train import Distillation
from loreal_plugin.attach.clip_source import using_weights
from loreal_plugin.config import with_settings
from loreal_plugin.contract import PLAIN_METHOD
from loreal_plugin.files import digest
from loreal_plugin.files.store import VerifiedStore
from loreal_plugin.options import position_resampling
from loreal_plugin.paths import cache_root
from loreal_plugin.results.record import harmonic_mean
from loreal_plugin.runs.logs import quietly
from loreal_plugin.runs.prepare import prepare
from loreal_plugin.runs.spec import build_spec
from loreal_plugin.students.build import build_student
from loreal_plugin.students.share import share_clip_tensors
from loreal_plugin.students.student import Student
from loreal_plugin.students.views import build_recipe, read_picture
from loreal_plugin.trainer.data import resized

HELD_OUT = "demo-heldout"
HALVES = ("base", "new")
BATCH = 250


class Trials:
    """Zero-shot students of the halves of a world, and their test pictures at phi."""

    def __init__(self, phi: int, seed: int, world: str = HELD_OUT) -> None:
        spec = build_spec(PLAIN_METHOD, str(phi), world, str(seed))
        self.engine = prepare(spec, check_data=False)
        self.phi, self.seed, self.weights = phi, seed, spec.weights
        contract = self.engine.host.contract
        node = f"TRAINER.{contract.cfg_node}."
        words = {f"{node}{key}": value for key, value in contract.zero_shot_options.items()}
        self.cfg = with_settings(self.engine.cfgs["alpha"], words)
        self.halves = {half: self.engine.identity.dataset(half) for half in HALVES}
        self.alpha = self.student("base", self.engine.plan.native_size)
        self.text = {half: self._text(half) for half in HALVES}
        self._tests: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
        self.ingredients: dict[str, Any] = {}  # what else changes alpha's targets

    def student(self, half: str, size: int, enlarge: int = 0) -> Student:
        """Return zero-shot CLIP at a size for the classes of a half."""
        names = self.halves[half].classnames
        host, cfg = self.engine.host, self.cfg
        with using_weights(self.weights):
            return quietly(
                lambda: build_student(host, cfg, names, "cpu", input_size=size, enlarge=enlarge)
            )

    def at_phi(self) -> Student:
        """Return zero-shot CLIP at phi, to which nothing is done."""
        return self.student("base", self.phi)

    def _text(self, half: str) -> Tensor:
        student = self.student(half, self.engine.plan.native_size)
        prompts = student.prompts()
        return F.normalize(student.encode_text(prompts.embeddings, prompts.tokens), dim=-1).detach()

    def tests(self, half: str, phi: int) -> tuple[Tensor, Tensor]:
        """Return the test pictures of a half at a size, and their labels."""
        if (half, phi) not in self._tests:
            self._tests[half, phi] = self._pictures(half, phi)
        return self._tests[half, phi]

    def _pictures(self, half: str, phi: int) -> tuple[Tensor, Tensor]:
        build = importlib.import_module("dassl.data.transforms").build_transform
        transform = quietly(lambda: build(resized(self.cfg, phi), is_train=False))
        items = self.halves[half].test
        shown = torch.stack([transform(read_picture(item.impath)) for item in items])
        return shown, torch.tensor([item.label for item in items])

    @torch.no_grad()
    def score(self, student: Student, phi: int = 0) -> dict[str, float]:
        """Return accuracy on both halves and their harmonic mean, in percent (phi 0: its own)."""
        found = {}
        for half in HALVES:
            images, labels = self.tests(half, phi or self.phi)
            parts = [student.encode_image(part)[:, 0] for part in images.split(BATCH)]
            right = (torch.cat(parts) @ self.text[half].t()).argmax(1) == labels
            found[half] = 100 * right.float().mean().item()
        return {**found, "hm": harmonic_mean(found["base"], found["new"])}

    def trial(self, settings: AdaptSettings, paths: Sequence[str] = ()) -> dict[str, Any]:
        """Return what one adaptation gives on some pictures (none: the training pictures)."""
        training, told = self._trained(settings, paths, [self.phi])
        training.adaptation.merge()
        return {**told, **self.score(training.beta.student)}

    def several(self, settings: AdaptSettings, sizes: Sequence[int]) -> dict[str, Any]:
        """Return what one pupil of several sizes, the largest first, gives at each."""
        training, told = self._trained(settings, (), sizes)
        for size, grid in zip(sizes, training.shards.grids, strict=True):
            training.beta.read_grid(grid)
            told[f"at {size}"] = self.score(training.beta.student, size)
        return told

    def _trained(
        self, settings: AdaptSettings, paths: Sequence[str], sizes: Sequence[int]
    ) -> tuple[Distillation, dict[str, Any]]:
        """Return a training that has ended, and what it took."""
        beta = self.student("base", sizes[0], settings.enlarge)
        share_clip_tensors(self.alpha, beta)
        pupil = Tower(beta)
        shards = self.shards(Tower(self.alpha), pupil, settings, paths, sizes)
        adaptation = adapt(beta, settings)
        if len(sizes) > 1:
            pupil.several_sizes(position_resampling(self.cfg))
        training = Distillation(pupil, adaptation, shards, settings)
        start = time.process_time()
        loss = [progress.loss for progress in training.run()][-1]
        seconds = time.process_time() - start
        count = sum(value.numel() for value in adaptation.state().values())
        told = {"steps": training.steps, "parameters": count, "loss": loss}
        return training, {**told, "processor_seconds": round(seconds, 1)}

    def shards(
        self,
        teacher: Tower,
        pupil: Tower,
        settings: AdaptSettings,
        paths: Sequence[str],
        sizes: Sequence[int],
    ) -> Shards:
        """Return the pupil's pictures (no paths: the training pictures) with their targets."""
        shown = list(paths) or [item.impath for item in self.halves["base"].train_x]
        return Shards(
            teacher,
            shown,
            sizes=sizes,
            grids=[pupil.grid, *(size // pupil.patch for size in sizes[1:])],
            recipe=build_recipe(self.cfg),
            seed=settings.seed,
            views=settings.views,
            store=VerifiedStore(cache_root() / "adaptation", "cache of alpha's targets"),
            ingredients={
                "trials": self.engine.identity.weights,
                "pictures": digest(shown),
                "phi": sizes[0],
                "seed": settings.seed,
                **self.ingredients,
            },
        )


def main() -> None:
    """Run the trials that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("phi", type=int)
    parser.add_argument("trials", nargs="*", help="settings as name=value,name=value")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sizes", default="", help="several sizes of one pupil: 192,144,96")
    args = parser.parse_args()
    sizes = read_sizes(args.sizes) if args.sizes else []
    out = Path(os.environ.get("OUT", "output")) / "adaptation.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    trials = Trials(args.phi, args.seed)
    for text in ["", *args.trials][bool(sizes) :]:
        settings = read_settings(text, args.seed) if text else None
        if settings and sizes:
            found = trials.several(settings, sizes)
        else:
            found = trials.trial(settings) if settings else trials.score(trials.at_phi())
        line = {"phi": sizes or args.phi, "settings": settings and settings.facts(), **found}
        print(json.dumps(line), flush=True)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_settings(text: str, seed: int) -> AdaptSettings:
    """Return the settings of one trial."""
    pairs = (pair.split("=", 1) for pair in text.split(","))
    return AdaptSettings(**{"seed": seed, **{name: _value(value) for name, value in pairs}})


def _value(text: str) -> Any:
    """Return a number as a number, and a word as it is."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


if __name__ == "__main__":
    main()
