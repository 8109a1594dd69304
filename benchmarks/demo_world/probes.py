"""What can be read from frozen features: by names, by a learned context, by slots, by a linear
probe.

These are plain, small versions for measuring the world. They share no code with the method that is
to be measured on it.

Shapes: N pictures, C classes, E joint width, D text width, K = 5 slots, M = 2 content tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.demo_world import captions
from benchmarks.demo_world.tokens import TokenTable
from benchmarks.demo_world.towers import encode_embeddings
from loreal_plugin.demo import world

CONTENT_TOKENS = 2
CHUNK = 64  # pictures whose texts are encoded at once


def harmonic_mean(base: float, new: float) -> float:
    """Returns the harmonic mean, 0 where both are 0."""
    return 2 * base * new / (base + new) if base + new else 0.0


def accuracy(predicted: Tensor, target: Tensor) -> float:
    """Returns the share of right predictions in per cent."""
    return 100 * float((predicted == target).float().mean())


class Prompts:
    """Prompts of some classes for a frozen CLIP: with a learned context, with or without slots."""

    def __init__(self, model: nn.Module, table: TokenTable, labels: Sequence[int]) -> None:
        self.model, self.labels = model, list(labels)
        names = [world.NAMES[label] for label in labels]
        ids = table.encode_full([captions.assemble(name, [], "class_first") for name in names])
        embed = model.token_embedding
        with torch.no_grad():
            rows = embed(ids)  # start, four words, name, ".", end
            self.plain_context = rows[0, 1:5].clone()
            self.start, self.names, self.end = rows[0, :1], rows[:, 5:6], rows[0, 6:8]
            words = table.encode_full([["with", *world.SLOT_ATTRIBUTES]])[0, 1:7]
            self.with_word, self.attributes = embed(words[:1]), embed(words[1:])

    def features(self, context: Tensor) -> Tensor:
        """Returns text features (C, E) of "CONTEXT NAME ."."""
        count = len(self.labels)
        parts = [self.start.expand(count, -1, -1), context.expand(count, -1, -1), self.names]
        rows = torch.cat([*parts, self.end.expand(count, -1, -1)], dim=1)
        return encode_embeddings(self.model, rows, torch.full((count,), rows.shape[1] - 1))

    def slot_features(self, context: Tensor, contents: Tensor) -> Tensor:
        """Returns text features (N, C, E) of "CONTEXT NAME with S S color ..." for S (N, K, D)."""
        count, classes = len(contents), len(self.labels)
        words = self.attributes.expand(count, -1, -1)
        slots = torch.cat(
            [contents[:, :, None].expand(-1, -1, CONTENT_TOKENS, -1), words[:, :, None]], dim=2
        )
        tail = [
            self.with_word.expand(count, -1, -1),
            slots.flatten(1, 2),
            self.end.expand(count, -1, -1),
        ]
        tail_rows = torch.cat(tail, dim=1)[:, None].expand(-1, classes, -1, -1)
        parts = [self.start.expand(classes, -1, -1), context.expand(classes, -1, -1), self.names]
        head_rows = torch.cat(parts, dim=1)[None].expand(count, -1, -1, -1)
        rows = torch.cat([head_rows, tail_rows], dim=2).flatten(0, 1)
        text = encode_embeddings(self.model, rows, torch.full((len(rows),), rows.shape[1] - 1))
        return text.view(count, classes, -1)

    @torch.no_grad()
    def predict(self, features: Tensor, context: Tensor, contents: Tensor | None = None) -> Tensor:
        """Returns the predicted position (N,) among `labels`, with contents (N, K, D) if given."""
        if contents is None:
            return (features @ self.features(context).T).argmax(1)
        parts = []
        for f, s in zip(features.split(CHUNK), contents.split(CHUNK), strict=True):
            parts.append(torch.einsum("ne,nce->nc", f, self.slot_features(context, s)).argmax(1))
        return torch.cat(parts)


class SlotNets(nn.Module):
    """One small net a slot, from a picture's features (N, E) to the slot's content (N, K, D)."""

    def __init__(self, embed_dim: int, text_width: int, start: Tensor, hidden: int = 32) -> None:
        super().__init__()
        count = len(world.SLOT_ATTRIBUTES)
        self.down = nn.Parameter(torch.randn(count, embed_dim, hidden) * (2 / embed_dim) ** 0.5)
        self.shift = nn.Parameter(torch.zeros(count, 1, hidden))
        self.up = nn.Parameter(torch.randn(count, hidden, text_width) * 0.5 / hidden**0.5)
        self.bias = nn.Parameter(start.expand(count, 1, -1).clone())

    def forward(self, features: Tensor) -> Tensor:
        """Return one slot content for each attribute, (B, K, D_t), from features (B, D_v)."""
        hidden = F.relu(features @ self.down + self.shift)
        return (hidden @ self.up + self.bias).transpose(0, 1)


def _fit(
    parameters: list[Tensor],
    loss: Callable[[Tensor], Tensor],
    count: int,
    *,
    lr: float,
    steps: int,
    batch: int,
    seed: int,
) -> None:
    """Minimises `loss` of row indices with SGD (momentum 0.9, cosine), epoch by epoch."""
    optimizer = torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    order: list[Tensor] = []
    for _ in range(steps):
        if not order:
            rows = torch.randperm(count, generator=generator)
            order = [part for part in rows.split(batch) if len(part) == batch or count < batch]
        optimizer.zero_grad()
        loss(order.pop()).backward()
        optimizer.step()
        schedule.step()


def train_context(
    prompts: Prompts, features: Tensor, target: Tensor, *, lr: float, steps: int, seed: int
) -> Tensor:
    """Returns a context (4, D) learned as CoOp does; `target` is a position in the labels."""
    context = prompts.plain_context.clone().requires_grad_()
    scale = prompts.model.logit_scale.exp()

    def loss(rows: Tensor) -> Tensor:
        return F.cross_entropy(scale * features[rows] @ prompts.features(context).T, target[rows])

    _fit([context], loss, len(features), lr=lr, steps=steps, batch=32, seed=seed)
    return context.detach()


def train_slots(
    prompts: Prompts,
    features: Tensor,
    target: Tensor,
    *,
    start: Tensor,
    lr: float,
    steps: int,
    seed: int,
) -> SlotNets:
    """Returns slot nets trained with cross entropy on their features, from `start` (D,)."""
    torch.manual_seed(seed)
    nets = SlotNets(features.shape[1], len(start), start)
    scale = prompts.model.logit_scale.exp()

    def loss(rows: Tensor) -> Tensor:
        text = prompts.slot_features(prompts.plain_context, nets(features[rows]))
        return F.cross_entropy(
            scale * torch.einsum("ne,nce->nc", features[rows], text), target[rows]
        )

    _fit(list(nets.parameters()), loss, len(features), lr=lr, steps=steps, batch=16, seed=seed)
    return nets


def linear_probe(
    features: Tensor, target: Tensor, test_features: Tensor, classes: int, decay: float = 1e-3
) -> Tensor:
    """Returns predictions on `test_features` by logistic regression on standardised features."""
    torch.manual_seed(0)
    layer = nn.Linear(features.shape[1], classes)
    mean, spread = features.mean(0), features.std(0) + 1e-5
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (
            F.cross_entropy(layer((features - mean) / spread), target)
            + decay * layer.weight.pow(2).sum()
        )
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        return layer((test_features - mean) / spread).argmax(1)


def few_shot_rows(labels: np.ndarray, classes: Sequence[int], shots: int, seed: int) -> np.ndarray:
    """Returns sorted row indices of `shots` pictures of each of `classes`."""
    rng = np.random.default_rng([seed, shots])
    rows = [rng.permutation(np.flatnonzero(labels == label))[:shots] for label in classes]
    return np.sort(np.concatenate(rows))
