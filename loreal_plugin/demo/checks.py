"""Tests T1 to T6: is the demonstration world a fair place to try a low-resolution method?

They use a frozen CLIP, its words, and small read-outs of `probes`, never the method itself.
Accuracies are in per cent; base and new classes are told apart among themselves (20 each, chance
5); HM is their harmonic mean. "(b)" is a context learned as CoOp does on 16 pictures a base class
at 96 pixels, its learning rate chosen on base `val` pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from loreal_plugin.demo import probes, world
from loreal_plugin.demo.features import FeatureStore, PoolRows
from loreal_plugin.demo.probes import Prompts, accuracy, few_shot_rows, harmonic_mean
from loreal_plugin.demo.tokens import TokenTable, token_table
from loreal_plugin.demo.weights import DEMO_WEIGHTS, expand_demo_state_dict, weights_file
from loreal_plugin.weights import import_clip

PHI = 96
RESOLUTIONS = (224, 192, 144, PHI)
CONTEXT_RATES = (0.002, 0.01)


@dataclass(frozen=True)
class CheckConfig:
    """How much work a check does; `quick` is for trying the code, its values mean nothing."""

    pictures: dict[str, int] = field(
        default_factory=lambda: {name: p.per_class for name, p in world.POOLS.items()}
    )
    seeds: tuple[int, ...] = (1, 2, 3)
    shots: int = 16
    context_steps: int = 500
    reach_steps: int = 900
    probe_decay: float = 1e-3

    @staticmethod
    def quick() -> CheckConfig:
        """Returns the smallest check that runs every line."""
        return CheckConfig(
            {"train": 4, "val": 2, "test": 3}, seeds=(1,), shots=2, context_steps=4, reach_steps=3
        )


@dataclass(frozen=True)
class Result:
    """One test: what was asked, what was measured, whether it holds."""

    test: str
    required: bool
    asked: str
    measured: str
    met: bool
    values: dict[str, float]


def load_check_model(name_or_path: str | Path) -> nn.Module:
    """Returns the frozen fp32 CLIP of a packed file, made by `clip.model.build_model`."""
    import_clip()
    from clip.model import build_model

    model = build_model(expand_demo_state_dict(name_or_path)).float()
    return model.requires_grad_(False)


def shuffle_within_classes(target: np.ndarray, seed: int) -> np.ndarray:
    """Returns an order of the rows that gives every row another one of its class."""
    rng, order = np.random.default_rng(seed), np.arange(len(target))
    for label in np.unique(target):
        members = rng.permutation(np.flatnonzero(target == label))
        order[members] = np.roll(members, 1)
    return order


class Checker:
    """Measures one CLIP; features are computed when first asked for."""

    def __init__(
        self, weights: str | Path, config: CheckConfig, table: TokenTable | None = None
    ) -> None:
        self.weights, self.config = weights, config
        self.model = load_check_model(weights)
        self.table = table or token_table()
        self.store = FeatureStore(self.model, config.pictures)
        self.halves = {
            "base": Prompts(self.model, self.table, world.BASE_CLASSES),
            "new": Prompts(self.model, self.table, world.NEW_CLASSES),
        }

    def rows(self, split: str, half: str) -> PoolRows:
        """Returns labels and attributes of half a split; `target` counts from its first class."""
        return self.store.rows(split, self.halves[half].labels)

    def score(
        self,
        split: str,
        size: int,
        context: Tensor | None = None,
        contents: dict[str, Tensor] | None = None,
    ) -> dict[str, float]:
        """Returns base, new and HM with a context (default: plain words), contents (N, K, D)."""
        values = {}
        for half, prompts in self.halves.items():
            rows = self.rows(split, half)
            given = prompts.plain_context if context is None else context
            guess = prompts.predict(
                self.store.features(split, size)[rows.index], given, contents and contents[half]
            )
            values[half] = accuracy(guess, rows.target)
        return {**values, "hm": harmonic_mean(values["base"], values["new"])}

    def shots(self, half: str, seed: int, shots: int) -> tuple[Tensor, Tensor]:
        """Returns features at PHI and targets of `shots` training pictures a class of a half."""
        rows = self.rows("train", half)
        picked = few_shot_rows(
            rows.target.numpy(), range(len(self.halves[half].labels)), shots, seed
        )
        return self.store.features("train", PHI)[rows.index[picked]], rows.target[picked]

    @cached_property
    def zero_shot(self) -> dict[int, dict[str, float]]:
        """Base, new and HM by resolution."""
        return {size: self.score("test", size) for size in RESOLUTIONS}

    @cached_property
    def context_rate(self) -> float:
        """The learning rate of (b), chosen on held-out base pictures."""
        return max(CONTEXT_RATES, key=lambda rate: self._val_accuracy(rate))

    def _val_accuracy(self, rate: float) -> float:
        prompts, rows = self.halves["base"], self.rows("val", "base")
        context = self._context("base", self.config.seeds[0], self.config.shots, rate)
        return accuracy(
            prompts.predict(self.store.features("val", PHI)[rows.index], context), rows.target
        )

    def _context(self, half: str, seed: int, shots: int, rate: float) -> Tensor:
        features, target = self.shots(half, seed, shots)
        steps = self.config.context_steps
        return probes.train_context(
            self.halves[half], features, target, lr=rate, steps=steps, seed=seed
        )

    @cached_property
    def trained_context(self) -> dict[str, float]:
        """Base, new and HM of (b), the mean over the few-shot seeds."""
        shots, rate = self.config.shots, self.context_rate
        scores = [
            self.score("test", PHI, self._context("base", seed, shots, rate))
            for seed in self.config.seeds
        ]
        return {key: float(np.mean([score[key] for score in scores])) for key in scores[0]}

    def probe(self, half: str, shots: int, seeds: tuple[int, ...]) -> float:
        """Returns the mean accuracy at PHI of a linear probe on `shots` pictures a class."""
        rows = self.rows("test", half)
        test, classes = self.store.features("test", PHI)[rows.index], len(self.halves[half].labels)
        values = []
        for seed in seeds:
            features, target = self.shots(half, seed, shots)
            guess = probes.linear_probe(features, target, test, classes, self.config.probe_decay)
            values.append(accuracy(guess, rows.target))
        return float(np.mean(values))

    def contents(self, how: str) -> dict[str, Tensor]:
        """Returns contents (N, 5, D) by half: true values, or shuffled within each class."""
        return {
            half: self._value_words(self.rows("test", half), how == "shuffled")
            for half in self.halves
        }

    def _value_words(self, rows: PoolRows, shuffled: bool) -> Tensor:
        attributes = rows.attributes
        if shuffled:
            attributes = attributes[shuffle_within_classes(rows.target.numpy(), seed=0)]
        columns = []
        for k, name in enumerate(world.SLOT_ATTRIBUTES):
            words = self.table.encode_full([[value] for value in world.VALUES[name]])[:, 1]
            columns.append(
                self.model.token_embedding(words)[
                    torch.from_numpy(attributes[:, k].astype(np.int64))
                ]
            )
        return torch.stack(columns, dim=1)


def check_cliff(c: Checker) -> Result:
    """T1: accuracy falls with the resolution, gently first, and 96 stays above chance."""
    hm = {size: score["hm"] for size, score in c.zero_shot.items()}
    fall = {size: hm[224] - hm[size] for size in RESOLUTIONS[1:]}
    met = 15 <= fall[96] <= 35 and fall[144] <= 2 / 3 * fall[96] and fall[192] <= 4 and hm[96] >= 15
    values = {f"hm_{size}": value for size, value in hm.items()}
    measured = " / ".join(f"{hm[size]:.1f}" for size in RESOLUTIONS)
    asked = (
        "zero-shot HM 224/192/144/96: 96 loses 15 to 35, 144 at most 2/3 of it, 192 at most 4; 96"
        " above 15"
    )
    return Result("T1", True, asked, measured, met, values)


def check_words_and_names(c: Checker) -> Result:
    """T2: telling the true values does not drown the class name."""
    none, true = c.zero_shot[224]["hm"], c.score("test", 224, contents=c.contents("true"))["hm"]
    asked = "HM at 224 with true words at most 2 below no slots"
    return Result(
        "T2",
        True,
        asked,
        f"{true:.1f} against {none:.1f}",
        true >= none - 2,
        {"true": true, "none": none},
    )


def check_headroom(c: Checker) -> list[Result]:
    """T3 and T3b: labels of the classes read more from the 96-pixel features than (b) does."""
    b, every = c.trained_context, c.config.pictures["train"]
    full = c.probe("new", every, c.config.seeds[:1])
    few = {half: c.probe(half, c.config.shots, c.config.seeds) for half in c.halves}
    values = {
        "probe_new": full,
        "b_base": b["base"],
        "b_new": b["new"],
        "b_hm": b["hm"],
        "b_lr": c.context_rate,
    }
    gain = {half: few[half] - b[half] for half in few}
    return [
        Result(
            "T3",
            True,
            f"probe ({every} a class) on new at 96 at least 10 above (b)",
            f"{full:.1f} against {b['new']:.1f} ({full - b['new']:+.1f})",
            full >= b["new"] + 10,
            values,
        ),
        Result(
            "T3b",
            False,
            f"probe ({c.config.shots} a class) at 96 at least 5 above (b), base and new",
            f"base {few['base']:.1f} ({gain['base']:+.1f}), new {few['new']:.1f}"
            f" ({gain['new']:+.1f})",
            min(gain.values()) >= 5,
            {f"probe_few_{half}": few[half] for half in few},
        ),
    ]


def check_right_words(c: Checker) -> Result:
    """T4: the picture's own words help more than those of another picture of its class."""
    true, other = (c.score("test", PHI, contents=c.contents(how)) for how in ("true", "shuffled"))
    b, none = c.trained_context["hm"], c.zero_shot[PHI]["hm"]
    measured = (
        f"true {true['hm']:.1f}, another picture's {other['hm']:.1f}, (b) {b:.1f}, no slots"
        f" {none:.1f}"
    )
    values = {
        "true": true["hm"],
        "shuffled": other["hm"],
        "true_base": true["base"],
        "true_new": true["new"],
    }
    met = true["hm"] >= other["hm"] + 5 and true["hm"] > b
    return Result(
        "T4",
        False,
        "HM at 96 with true words at least 5 above another picture's, and above (b)",
        measured,
        met,
        values,
    )


def check_protocol(c: Checker) -> Result:
    """T5: enough test pictures, few-shot seeds and backbones to tell a difference from noise."""
    shipped = 0
    for name in DEMO_WEIGHTS:
        try:
            shipped += weights_file(name).is_file()
        except FileNotFoundError:
            continue
    values = {
        "test_per_class": c.config.pictures["test"],
        "seeds": len(c.config.seeds),
        "backbones": shipped,
    }
    met = values["test_per_class"] >= 150 and values["seeds"] >= 3 and shipped >= 2
    measured = f"{values['test_per_class']} pictures, {values['seeds']} seeds, {shipped} backbones"
    return Result(
        "T5",
        True,
        "150 test pictures a class, 3 few-shot seeds, 2 backbones",
        measured,
        met,
        values,
    )


def check_reach(c: Checker) -> Result:
    """T6: slots trained on labelled new pictures go beyond a context trained on the same."""
    every, seed, prompts = c.config.pictures["train"], c.config.seeds[0], c.halves["new"]
    features, target = c.shots("new", seed, every)
    rows = c.rows("test", "new")
    test = c.store.features("test", PHI)[rows.index]
    context = c._context("new", seed, every, c.context_rate)
    by_context = accuracy(prompts.predict(test, context), rows.target)
    neutral = c.model.token_embedding(c.table.encode_full([["some"]])[0, 1])
    nets = probes.train_slots(
        prompts, features, target, start=neutral, lr=0.05, steps=c.config.reach_steps, seed=seed
    )
    with torch.no_grad():
        by_slots = accuracy(prompts.predict(test, prompts.plain_context, nets(test)), rows.target)
    measured = f"{by_slots:.1f} against {by_context:.1f} ({by_slots - by_context:+.1f})"
    asked = (
        "slots trained on labelled new pictures at 96 at least 3 above a context trained on the"
        " same"
    )
    return Result(
        "T6",
        False,
        asked,
        measured,
        by_slots >= by_context + 3,
        {"slots": by_slots, "context": by_context},
    )


def iter_checks(weights: str | Path, config: CheckConfig | None = None) -> Iterator[Result]:
    """Yields T1 to T6 of a packed CLIP ("demo", "demo-2" or a path), each once measured."""
    checker = Checker(weights, config or CheckConfig())
    yield check_cliff(checker)
    yield check_words_and_names(checker)
    yield from check_headroom(checker)
    yield check_right_words(checker)
    yield check_protocol(checker)
    yield check_reach(checker)


def as_json(results: list[Result]) -> list[dict]:
    """Returns the results as plain data."""
    return [asdict(result) for result in results]
