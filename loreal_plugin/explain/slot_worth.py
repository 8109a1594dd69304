"""What the slots say and what they are worth: a content's nearest words, the logits without it.

Shapes: K attributes, C classes, D_t text width, V words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from loreal_plugin.contract.text import text_ids
from loreal_plugin.demo.weights import DEMO_WEIGHTS, untrained_tokens
from loreal_plugin.explain.runs import OpenRun
from loreal_plugin.method.loreal import Loreal
from loreal_plugin.students.build import NEUTRAL_WORD
from loreal_plugin.students.student import Student
from loreal_plugin.weights import import_clip

_WORD = re.compile(r"[a-z]{3,}</w>")


@dataclass(frozen=True)
class Vocabulary:
    """V words that are one token each, and their embeddings (V, D_t)."""

    words: tuple[str, ...]
    embeddings: Tensor

    def nearest(self, contents: Tensor, count: int) -> list[list[tuple[str, float]]]:
        """Return the `count` nearest words of each content (K, D_t), with cosines, best first."""
        table = F.normalize(self.embeddings.float(), dim=-1)
        cosine = F.normalize(contents.float(), dim=-1) @ table.T
        best = cosine.topk(min(count, len(self.words)), dim=-1)
        rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [[(self.words[i], value) for i, value in zip(*row, strict=True)] for row in rows]


def whole_words(decoder: dict[int, str], skip: set[int] = frozenset()) -> dict[int, str]:
    """Return the tokens of CLIP that are a whole word of three or more letters, by id."""
    return {
        i: text.removesuffix("</w>")
        for i, text in decoder.items()
        if _WORD.fullmatch(text) and i not in skip
    }


def load_vocabulary(run: OpenRun) -> Vocabulary:
    """Return the words of the run's CLIP; of a demonstration CLIP those that it has learned."""
    decoder = import_clip().clip._tokenizer.decoder
    name = run.trained.weights
    skip = set(untrained_tokens(decoder, name)) if name in DEMO_WEIGHTS else set()
    found = whole_words(decoder, skip)
    weight = run.beta.token_weight
    return Vocabulary(
        tuple(found.values()), weight[torch.tensor(list(found), device=weight.device)]
    )


@torch.no_grad()
def stand_ins(model: Loreal, student: Student) -> dict[str, Tensor]:
    """Return what takes a content's place when its slot is left out, (K, D_t) each.

    - `mean`: the contents of the training pictures' mean embedding; tells what this picture put
      into the slot. Left out where the checkpoint has no mean;
    - `neutral`: the embedding of the word "some", which META_INIT neutral starts from and which
      means next to nothing before an attribute; tells what the content is worth at all.

    Args:
        model: has the meta-nets.
        student: whose slots they are.
    """
    ids = torch.tensor(text_ids(NEUTRAL_WORD, student.tokenize), device=student.device)
    neutral = student.token_weight[ids].float().mean(0)
    found = {"neutral": neutral.expand(len(model.meta_nets.meta_nets), -1)}
    if student.mean is not None:
        found["mean"] = model.contents(student, student.mean[None].to(student.device))[0]
    return found


def moves(contents: Tensor, mean: Tensor) -> Tensor:
    """Return how far contents (K, D_t) lie from their training mean, in its lengths, (K,)."""
    return (contents - mean).float().norm(dim=-1) / mean.float().norm(dim=-1)


@torch.no_grad()
def leave_one_out(logits: Callable[[Tensor], Tensor], contents: Tensor, stand_in: Tensor) -> Tensor:
    """Return logits (1 + K, C): with all contents, then with content k replaced, for each k.

    Args:
        logits: contents (B, K, D_t) -> (B, C), each row by itself.
        contents: (1, K, D_t).
        stand_in: (K, D_t).
    """
    n_slots = contents.shape[1]
    variants = contents.repeat(1 + n_slots, 1, 1)
    for k in range(n_slots):
        variants[1 + k, k] = stand_in[k]
    return logits(variants).float()
