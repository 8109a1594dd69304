"""Pre-trains the demonstration CLIP: counted in steps, resumable, and bit for bit the same for the
same settings.

Every step draws its pictures, captions and kept patches from a random stream of (seed, step) alone,
so a run that was interrupted and resumed equals one that was not. Most steps look at a random share
of the patches, which is several times faster; the last ones see whole pictures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.demo_world.class_sets import class_set
from benchmarks.demo_world.objective import Batch, Heads, LossWeights, Objective
from benchmarks.demo_world.pool import PretrainPool, merged_coverage, merged_patches
from benchmarks.demo_world.tokens import TokenTable, token_table
from benchmarks.demo_world.towers import (
    GRID,
    PATCH_SIZE,
    TowerConfig,
    create_clip,
    encode_patches,
    init_patch_embedding,
    normalise_patches,
)
from loreal_plugin.demo.world import IMAGE_SIZE, NUM_BASE
from loreal_plugin.files.tensors import write_torch

Report = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of a pre-training; together with the number of threads they fix the weights."""

    seed: int = 1
    steps: int = 2400
    image_share: float = 0.18  # the first steps train the image tower alone, on the auxiliary heads
    whole_share: float = 0.1  # the last steps see all patches
    batch_size: int = 48
    kept_patches: int = 80
    same_slot_pictures: int = 8
    candidates: int = 10
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warmup: int = 100
    pool_size: int = 24000
    per_half: int = NUM_BASE  # base classes, and as many new ones
    towers: TowerConfig = field(default_factory=TowerConfig)
    losses: LossWeights = field(default_factory=LossWeights)


def with_patches(config: PretrainConfig, size: int) -> PretrainConfig:
    """Returns the same recipe with patches of `size` pixels; the same share of them is kept.

    Raises:
        ValueError: the pictures are no whole number of such patches, or the pool's are no part of
            them.
    """
    if size < PATCH_SIZE or size % PATCH_SIZE or IMAGE_SIZE % size:
        raise ValueError(
            f"patches of {size} pixels: they must be a multiple of {PATCH_SIZE} that divides"
            f" {IMAGE_SIZE}, as {2 * PATCH_SIZE}"
        )
    kept = round(config.kept_patches * (config.towers.patch_size / size) ** 2)
    return replace(config, kept_patches=kept, towers=replace(config.towers, patch_size=size))


def flip_patches(patches: np.ndarray) -> np.ndarray:
    """Returns patches (B, G, P) of the mirrored pictures."""
    grid, size = math.isqrt(patches.shape[1]), math.isqrt(patches.shape[-1] // 3)
    tiles = patches.reshape(-1, grid, grid, 3, size, size)
    return tiles[:, :, ::-1, :, :, ::-1].reshape(patches.shape)


def flip_grid(values: np.ndarray) -> np.ndarray:
    """Returns values (B, G, n) of the patches of the mirrored pictures."""
    grid = math.isqrt(values.shape[1])
    return values.reshape(len(values), grid, grid, -1)[:, :, ::-1].reshape(values.shape)


def _keep_weights(grid: int) -> np.ndarray:
    weights = np.ones((grid, grid))
    weights[_inner(grid, 3), _inner(grid, 2)] = 3  # the object is near the middle
    return (weights / weights.sum()).ravel()


def _inner(grid: int, margin: int) -> slice:
    """Returns rows or columns without a margin, which is told for a grid of 14."""
    edge = margin * grid // GRID
    return slice(edge, grid - edge)


def learning_rate(config: PretrainConfig, step: int) -> float:
    """Returns the rate at `step`: a linear warm-up, then a cosine to a fiftieth."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / config.steps))
    return config.learning_rate * min(1.0, (step + 1) / config.warmup) * (0.98 * cosine + 0.02)


class Pretrainer:
    """Model, heads and optimiser of one pre-training, and the step it has reached."""

    def __init__(
        self, config: PretrainConfig, pool: PretrainPool, table: TokenTable | None = None
    ) -> None:
        self.config, self.pool = config, pool
        classes = class_set(config.per_half)
        self.table = table or token_table(classes.names)
        torch.manual_seed(config.seed)
        self.model = create_clip(config.towers, len(self.table))
        self.heads = Heads(config.towers.vision_width, len(classes))
        self.objective = Objective(
            self.table, config.losses, config.same_slot_pictures, config.candidates, classes
        )
        self.step = 0
        self.grid = IMAGE_SIZE // config.towers.patch_size
        self._init_patches()
        self.optimizer = self._create_optimizer()

    def _init_patches(self) -> None:
        rng = np.random.default_rng([self.config.seed, 0])
        rows = np.sort(rng.permutation(len(self.pool))[:600])
        positions, inner = np.arange(self.grid**2).reshape(self.grid, -1), _inner(self.grid, 3)
        middle = positions[inner, inner].ravel()
        patches = torch.from_numpy(self._pictures(rows)[0][:, middle])
        init_patch_embedding(self.model, normalise_patches(patches).flatten(0, 1))

    def _pictures(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns patches (n, G, P) and coverage (n, G, 2) of pictures of the pool."""
        size = self.config.towers.patch_size
        patches = merged_patches(self.pool.patches[rows], size)
        return patches, merged_coverage(self.pool.coverage[rows], size // PATCH_SIZE)

    def _create_optimizer(self) -> torch.optim.Optimizer:
        parameters = [*self.model.parameters(), *self.heads.parameters()]
        groups = [
            {
                "params": [p for p in parameters if p.ndim > 1],
                "weight_decay": self.config.weight_decay,
            },
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.config.learning_rate, betas=(0.9, 0.98))

    def _draw(self, rng: np.random.Generator) -> tuple[Batch, Tensor, Tensor | None]:
        """Returns the labels, the normalised patches and the kept positions of one step."""
        rows = np.sort(rng.integers(len(self.pool), size=self.config.batch_size))
        patches, coverage = self._pictures(rows)
        flipped = rng.random(len(rows)) < 0.5
        patches[flipped], coverage[flipped] = (
            flip_patches(patches[flipped]),
            flip_grid(coverage[flipped]),
        )
        keep = None
        if self.step < self.config.steps * (1 - self.config.whole_share):
            keep = np.sort(
                rng.choice(
                    self.grid**2,
                    self.config.kept_patches,
                    replace=False,
                    p=_keep_weights(self.grid),
                )
            )
            patches, coverage = patches[:, keep], coverage[:, keep]
            keep = torch.from_numpy(keep)
        order = rng.permutation(len(rows))  # which pictures get the same-slot captions
        batch = Batch(
            coverage[order], self.pool.attributes[rows[order]], self.pool.labels[rows[order]]
        )
        return batch, normalise_patches(torch.from_numpy(patches[order])), keep

    def head_weight(self, name: str) -> float:
        """Returns the weight of an auxiliary head at this step."""
        losses, done = self.config.losses, self.step / self.config.steps
        if name == "class":
            return losses.class_head * max(0.0, 1 - done / 0.4)
        return losses.heads_end + (1 - losses.heads_end) * max(0.0, 1 - done / 0.6)

    def train_step(self) -> dict[str, float]:
        """Takes one optimiser step; returns the value of every loss term."""
        rng = np.random.default_rng([self.config.seed, 1, self.step])
        batch, patches, keep = self._draw(rng)
        features, token, tokens = encode_patches(self.model, patches, keep)
        terms = {
            name: self.head_weight(name) * term
            for name, term in self.heads(token, tokens, batch).items()
        }
        if self.step >= self.config.image_share * self.config.steps:
            terms |= self.objective(self.model, features, batch, rng)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=math.log(100))
        self.step += 1
        return {name: float(term.detach()) for name, term in terms.items()}

    def save(self, path: Path) -> None:
        """Writes everything needed to go on, atomically."""
        state = {
            "config": json.dumps(asdict(self.config)),
            "step": self.step,
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        write_torch(path, state)

    def load(self, path: Path) -> None:
        """Goes on from a file of `save`.

        Raises:
            ValueError: if the file belongs to other settings.
        """
        state = torch.load(path, weights_only=True)
        mine, found = asdict(self.config), json.loads(state["config"])
        if json.loads(json.dumps(mine)) != found:
            different = [key for key in mine if json.loads(json.dumps(mine[key])) != found.get(key)]
            raise ValueError(
                f"{path} was trained with other settings ({', '.join(different)}); delete it or use"
                " those settings"
            )
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def run(
    trainer: Pretrainer,
    checkpoint: Path | None = None,
    save_every: int = 250,
    report: Report | None = None,
) -> None:
    """Trains to the last step; saves to `checkpoint`; `report` gets each step and its losses."""
    steps = trainer.config.steps
    for _ in tqdm(
        range(trainer.step, steps),
        initial=trainer.step,
        total=steps,
        desc="pre-training",
        mininterval=5,
        disable=None,
    ):
        losses = trainer.train_step()
        if checkpoint and (trainer.step % save_every == 0 or trainer.step == steps):
            trainer.save(checkpoint)
        if report:
            report(trainer.step, losses)


def tiny(config: PretrainConfig, steps: int) -> PretrainConfig:
    """Returns settings that run in seconds, for tests."""
    return replace(
        config,
        steps=steps,
        batch_size=8,
        kept_patches=20,
        same_slot_pictures=2,
        candidates=4,
        pool_size=40,
    )
