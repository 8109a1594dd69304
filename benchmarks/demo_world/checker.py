"""One pre-trained CLIP and what is measured of it: pictures, features, contexts, read-outs.

Accuracies are in per cent; base and new classes are told apart among themselves (20 each, chance
5); HM is their harmonic mean.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.demo_world import probes
from benchmarks.demo_world.features import FeatureStore, PoolRows
from benchmarks.demo_world.probes import Prompts, accuracy, few_shot_rows, harmonic_mean
from benchmarks.demo_world.tokens import TokenTable, token_table
from loreal_plugin.demo import world
from loreal_plugin.demo.weights import expand_demo_state_dict
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
        context = self.learned_context("base", self.config.seeds[0], self.config.shots, rate)
        return accuracy(
            prompts.predict(self.store.features("val", PHI)[rows.index], context), rows.target
        )

    def learned_context(self, half: str, seed: int, shots: int, rate: float) -> Tensor:
        """Returns a context (4, D) learned on `shots` pictures a class of a half."""
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
            self.score("test", PHI, self.learned_context("base", seed, shots, rate))
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
