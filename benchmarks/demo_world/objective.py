"""The losses of pre-training.

CLIP's own contrastive loss alone would need hours. It is helped by three denser forms of the same
question: which value ("a photo of a thing with V V color."), which name ("a photo of a NAME."), and
which name *given the same true slots for every name*. The last one keeps words and names from
competing: a stated attribute is common to all candidates, so only a name that fits what the words
say can win. It also teaches what a name implies about the detail once colour and ground are told.
Linear heads, thrown away afterwards, say at the start what the image tower should see at all: on
their own they learn textures and marks in a few hundred steps, which together with the noisier text
losses did not happen in a thousand.

Shapes: B images, E joint width, N texts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.demo_world import captions
from benchmarks.demo_world.class_sets import DEMO, ClassSet
from benchmarks.demo_world.tokens import TokenTable
from benchmarks.demo_world.towers import encode_text
from loreal_plugin.demo import world

ATTRIBUTE_WEIGHTS = {
    name: 1.0 if name in world.SLOT_ATTRIBUTES else 2.0 for name in world.ATTRIBUTES
}
DENSE_ATTRIBUTES = ("pattern", "mark", "shape")
_VALUE_CUTS = np.cumsum([0, *(len(values) for values in world.VALUES.values())]).tolist()


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; `bare_share` of the class captions state nothing but the name."""

    value: float = 2.0
    name: float = 0.1
    same_slots: float = 2.0
    bare_share: float = 0.15
    class_head: float = 0.5  # at the start; 0 at 40 % of the training
    heads_end: float = 0.2  # the other heads' weight falls from 1 to this at 60 % of the training


@dataclass(frozen=True)
class Batch:
    """Pictures of a step: `attributes` (B, 8), `labels` (B,), -1 a thing, `coverage` (B, G, 2)."""

    coverage: np.ndarray
    attributes: np.ndarray
    labels: np.ndarray


class Heads(nn.Module):
    """Linear read-outs of the image tower used in pre-training only."""

    def __init__(self, width: int, num_classes: int = world.NUM_CLASSES) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.token = nn.Linear(width, num_classes + _VALUE_CUTS[-1])
        self.norm = nn.LayerNorm(width)
        self.patch = nn.Linear(width, 1 + sum(len(world.VALUES[name]) for name in DENSE_ATTRIBUTES))

    def forward(self, token: Tensor, patches: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Returns losses of class and values at the class token, and of what each patch shows."""
        logits = self.token(token)
        labels = torch.from_numpy(batch.labels)
        classes = F.cross_entropy(logits[:, : self.num_classes], labels, ignore_index=-1)
        values = value_loss(logits[:, self.num_classes :], batch)
        return {
            "class": classes,
            "token": 4 * values,
            **self._patch_losses(self.patch(self.norm(patches)), batch),
        }

    def _patch_losses(self, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Returns losses of patch logits (B, G, .): object here? which pattern, mark and shape?"""
        covered = torch.from_numpy(batch.coverage).float()
        losses = {"object": F.binary_cross_entropy_with_logits(logits[..., 0], covered[..., 0])}
        start = 1
        for name in DENSE_ATTRIBUTES:
            count = len(world.VALUES[name])
            target = torch.from_numpy(batch.attributes[:, world.ATTRIBUTES.index(name)])
            weight = covered[..., 1 if name == "mark" else 0]
            part = F.cross_entropy(
                logits[..., start : start + count].flatten(0, 1),
                target.repeat_interleave(logits.shape[1]),
                reduction="none",
            )
            losses[f"patch {name}"] = (part * weight.flatten()).sum() / (weight.sum() + 1)
            start += count
        return losses


def value_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Returns the weighted mean cross entropy over eight attributes, of logits (B, values)."""
    total = logits.new_zeros(())
    for k, name in enumerate(world.ATTRIBUTES):
        target = torch.from_numpy(batch.attributes[:, k])
        part = F.cross_entropy(logits[:, _VALUE_CUTS[k] : _VALUE_CUTS[k + 1]], target)
        total = total + ATTRIBUTE_WEIGHTS[name] * part
    return total / sum(ATTRIBUTE_WEIGHTS.values())


def contrastive_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """Returns CLIP's symmetric loss of logits (B, B); equal captions count as equally right."""
    same = (ids[:, None] == ids[None]).all(-1).float()
    target = same / same.sum(1, keepdim=True)
    rows, columns = logits.log_softmax(1), logits.T.log_softmax(1)
    return -((target * rows).sum(1) + (target * columns).sum(1)).mean() / 2


def _candidates(label: int, count: int, rng: np.random.Generator, classes: ClassSet) -> list[int]:
    """Returns `count` class labels, the right one first, then its family, then others."""
    family = next(group for group in classes.families() if label in group)
    first = [label, *(other for other in family if other != label)]
    others = [other for other in range(len(classes)) if other not in first]
    return (first + [others[i] for i in rng.permutation(len(others))])[:count]


def _same_slot_texts(
    batch: Batch,
    rows: np.ndarray,
    count: int,
    style: captions.Style,
    rng: np.random.Generator,
    classes: ClassSet,
) -> list[list[str]]:
    """Returns `count` captions for each of `rows`, equal but for the name, the right one first."""
    texts = []
    for row in rows:
        if rng.random() < 0.5:
            slots = captions.true_slots(batch.attributes[row], style.repeats)
        else:
            names = [
                world.SLOT_ATTRIBUTES[i] for i in rng.permutation(5)[: int(rng.integers(1, 6))]
            ]
            slots = captions.random_slots(batch.attributes[row], names, style, rng)
        for label in _candidates(int(batch.labels[row]), count, rng, classes):
            texts.append(captions.assemble(classes.names[label], slots, style.layout))
    return texts


class Objective:
    """The text side of a pre-training step."""

    def __init__(
        self,
        table: TokenTable,
        weights: LossWeights,
        same_slot_pictures: int,
        candidates: int,
        classes: ClassSet = DEMO,
    ) -> None:
        self.table, self.weights, self.classes = table, weights, classes
        self.same_slot_pictures, self.candidates = same_slot_pictures, candidates
        values = [text for name in world.ATTRIBUTES for text in captions.value_captions(name)]
        self.fixed_ids = table.encode(values + captions.name_captions(classes.names))

    def __call__(
        self, model: nn.Module, features: Tensor, batch: Batch, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        """Returns the weighted terms for image features (B, E)."""
        style = captions.Style.draw(rng)
        rows = np.flatnonzero(batch.labels >= 0)[: self.same_slot_pictures]
        texts = [
            captions.random_caption(
                int(label), attributes, style, rng, self.weights.bare_share, self.classes.names
            )
            for label, attributes in zip(batch.labels, batch.attributes, strict=True)
        ]
        texts += _same_slot_texts(batch, rows, self.candidates, style, rng, self.classes)
        ids = self.table.encode(texts)
        text, fixed = encode_text(model, ids), encode_text(model, self.fixed_ids)
        scale = model.logit_scale.exp()
        size = len(features)
        fixed_logits = scale * features @ fixed.T
        same = scale * torch.einsum(
            "be,bne->bn", features[rows], text[size:].view(len(rows), self.candidates, -1)
        )
        name = F.cross_entropy(
            fixed_logits[:, _VALUE_CUTS[-1] :], torch.from_numpy(batch.labels), ignore_index=-1
        )
        return {
            "clip": contrastive_loss(scale * features @ text[:size].T, ids[:size]),
            "value": self.weights.value * value_loss(fixed_logits[:, : _VALUE_CUTS[-1]], batch),
            "name": self.weights.name * name,
            "slots": (
                self.weights.same_slots
                * F.cross_entropy(same, torch.zeros(len(rows), dtype=torch.long))
            ),
        }
