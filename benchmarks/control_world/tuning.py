"""A CLIP that knows the control world: the demonstration CLIP with its text side tuned.

The image tower stays as it is. The text layers and the vocabulary rows of the twelve names are
tuned on pictures of their own, at the native size, with captions that state true attributes: which
class of a half is it, each told with the same words? So the CLIP learns what a name means together
with the word for the light, as CLIP learned captions of photographs. Prompts, slots and students
play no part.

Shapes: N pictures, B of a step, C classes of a half, L tokens, D text width, E joint width.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from benchmarks.control_world import rules
from benchmarks.demo_world import captions
from benchmarks.demo_world.checker import load_check_model
from benchmarks.demo_world.features import encode_images, resize
from benchmarks.demo_world.tokens import token_table
from benchmarks.demo_world.towers import encode_embeddings
from loreal_plugin.demo import world
from loreal_plugin.demo.weights import pack_state_dict

NATIVE = world.IMAGE_SIZE
TEXT_SIDE = ("transformer", "ln_final", "text_projection", "positional_embedding")
BATCH = 48  # pictures encoded at a time


@dataclass(frozen=True)
class Recipe:
    """How the text side is tuned; shares are of captions."""

    pictures: int = 1500
    steps: int = 600
    batch: int = 16
    name_rate: float = 1e-2
    text_rate: float = 1e-3
    decay: float = 0.01
    bare: float = 0.25  # without any attribute
    told: float = 0.85  # of the others: with the light
    other: float = 0.5  # of the others: with each further attribute of the slots
    seed: int = 0


def encode(
    model: nn.Module, pictures: Sequence[tuple[str, int | None, int]], size: int
) -> tuple[Tensor, np.ndarray]:
    """Returns features (N, E) of pictures at a size, and their value indices (N, 8).

    Args:
        pictures: part, label and index of each.
    """
    parts, batch = [], []
    for number, key in enumerate(pictures, 1):
        batch.append(resize(Image.open(io.BytesIO(rules.jpeg(*key))), size))
        if len(batch) == BATCH or number == len(pictures):
            parts.append(encode_images(model, torch.stack(batch)))
            batch = []
    return torch.cat(parts), np.stack([rules.picture(*key)[0] for key in pictures])


class Names(nn.Module):
    """The vocabulary with rows of its own for the twelve names: ids (N, L) -> (N, L, D)."""

    def __init__(self, embedding: nn.Embedding, seed: int) -> None:
        super().__init__()
        self.ids = token_table().encode_full([[name] for name in rules.NAMES])[:, 1]
        self.place = torch.full((len(embedding.weight),), -1)
        self.place[self.ids] = torch.arange(len(self.ids))
        self.embedding = embedding
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(self.ids), embedding.weight.shape[1], generator=generator)
        # all start as the same word: what the names meant in the demonstration world is forgotten
        every = token_table().encode_full([[name] for name in world.NAMES])[:, 1]
        self.rows = nn.Parameter(embedding(every).detach().mean(0) + 0.1 * noise)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the rows (N, L, D) of token ids (N, L)."""
        place = self.place[ids]
        return torch.where(place[..., None] >= 0, self.rows[place], self.embedding(ids))


def random_slots(attributes: np.ndarray, recipe: Recipe, rng: np.random.Generator) -> list[str]:
    """Returns the words that a caption says of a picture, none in a share `bare`."""
    if rng.random() < recipe.bare:
        return []
    shares = dict.fromkeys(world.SLOT_ATTRIBUTES, recipe.other) | {rules.TELLS: recipe.told}
    names = [name for name, share in shares.items() if rng.random() < share]
    return captions.random_slots(attributes, names, captions.Style.draw(rng), rng)


class Tuner:
    """Tunes the text side of a CLIP, step by step."""

    def __init__(self, recipe: Recipe, weights: str = "demo") -> None:
        self.recipe, self.model = recipe, load_check_model(weights)
        keys = [(rules.TUNING, None, index) for index in range(recipe.pictures)]
        self.features, self.attributes = encode(self.model, keys, NATIVE)
        self.targets = {
            half: torch.tensor([rules.label_of(row, half) for row in self.attributes])
            for half in rules.HALVES
        }
        self.names = Names(self.model.token_embedding, recipe.seed)
        text = [p for name, p in self.model.named_parameters() if name.startswith(TEXT_SIDE)]
        for parameter in text:
            parameter.requires_grad_(True)
        groups = [
            {"params": [self.names.rows], "lr": recipe.name_rate},
            {"params": text, "lr": recipe.text_rate},
        ]
        self.optimiser = torch.optim.AdamW(groups, weight_decay=recipe.decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR
        self.schedule = schedule(self.optimiser, recipe.steps)
        self.rng = np.random.default_rng(recipe.seed)

    def step(self) -> float:
        """Returns the loss of one step on a batch of one half's classes."""
        chosen = self.rng.integers(0, self.recipe.pictures, self.recipe.batch)
        half = ("base", "new")[int(self.rng.integers(2))]
        texts = []
        for row in self.attributes[chosen]:
            words = random_slots(row, self.recipe, self.rng)
            layout = captions.Style.draw(self.rng).layout
            texts += [
                captions.assemble(rules.NAMES[label], words, layout) for label in rules.HALVES[half]
            ]
        ids = token_table().encode_full(texts)
        text = encode_embeddings(self.model, self.names(ids), ids.argmax(1))
        text = text.unflatten(0, (len(chosen), -1))  # (B, C, E)
        logits = torch.einsum("be,bce->bc", self.features[chosen], text)
        loss = F.cross_entropy(self.model.logit_scale.exp() * logits, self.targets[half][chosen])
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        return loss.item()

    def tuned(self) -> nn.Module:
        """Returns the tuned CLIP, the names in its vocabulary; trains the steps of the recipe."""
        for _ in range(self.recipe.steps):
            self.step()
        with torch.no_grad():
            self.model.token_embedding.weight[self.names.ids] = self.names.rows
        return self.model.requires_grad_(False)


def write_weights(path: Path, recipe: Recipe | None = None) -> Path:
    """Writes the tuned CLIP as a file that CLIP_WEIGHTS takes; returns it.

    The same on the same machine and number of threads, whoever makes it.
    """
    recipe = recipe or Recipe()
    state = Tuner(recipe).tuned().state_dict()
    known = token_table().token_ids
    state["token_embedding.weight"] = state["token_embedding.weight"][known]
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {"control_version": rules.CONTROL_VERSION, "recipe": asdict(recipe)}
    pack_state_dict(state, known, path, facts)
    return path
