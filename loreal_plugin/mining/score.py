"""How well an attribute word can be told from training pictures at the native size and at phi.

Shapes: N pictures, C classes, D_v joint embedding width.

For a word w every class c has a text feature t_c(w), made of the file alone:

- with descriptions: the description of c (its class name taken out) is cut into clauses; t_c(w) is the mean of
  their text features, weighted by softmax(cos(clause, w) / 0.05): what the description says about w;
- without: the text "a photo of a CLS with w.".

With u_c the unit-length t_c minus its mean over the classes, f_i the picture features, s_ic = f_i . u_c:

    margin(w) = mean_c [ mean_{i in c} s_ic - mean_{i not in c} s_ic ] / spread
    spread^2  = mean_c [ var_{i in c} s_ic + var_{i not in c} s_ic ] / 2

a class's pictures against all others, in standard deviations: 0 = cannot be told. It measures what this CLIP
connects with the word's texts, not what a trained meta-net will make of the slot; without descriptions it
measures class prompts that carry the word, so look at the difference from the prompt without one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EncodeTexts = Callable[[Sequence[str]], Tensor]
NO_WORD = ""
_SHARPNESS = 0.05
_CLAUSES = re.compile(r"[,;:.]|\b(?:with|on|against|between|in front of|and)\b")


@dataclass(frozen=True)
class WordScore:
    """A word's margins; `word` is "" for the texts without a word."""

    word: str
    native: float
    phi: float

    @property
    def kept(self) -> float:
        """Share of the native margin that is left at phi; 0 where there is none to lose."""
        return self.phi / self.native if self.native > 0 else 0.0


def score_words(
    words: Sequence[str],
    classnames: Sequence[str],
    *,
    native: Tensor,
    phi: Tensor,
    labels: Tensor,
    encode_texts: EncodeTexts,
    descriptions: dict[str, str] | None = None,
) -> list[WordScore]:
    """Return the score of the texts without a word, then of every word, best at phi first.

    Args:
        words: candidates.
        classnames: C names, in the order of the labels.
        native, phi: (N, D_v) features of the same pictures at both sizes, L2-normalised.
        labels: (N,).
        encode_texts: texts -> (n, D_v), L2-normalised.
        descriptions: class name -> sentence, for every class; None = class prompts.
    """
    texts_of = _described(classnames, descriptions, encode_texts) if descriptions else _named(classnames, encode_texts)
    scores = []
    for word in [NO_WORD, *words]:
        texts = texts_of(word)
        scores.append(WordScore(word, class_margin(native, labels, texts), class_margin(phi, labels, texts)))
    return scores[:1] + sorted(scores[1:], key=lambda s: -s.phi)


def class_margin(features: Tensor, labels: Tensor, texts: Tensor) -> float:
    """Return the standardised margin of pictures (N, D_v) of classes `labels` (N,) at texts (C, D_v)."""
    texts = F.normalize(texts.double(), dim=-1)
    similarity = features.double() @ (texts - texts.mean(0)).T  # (N, C)
    own = labels[:, None] == torch.arange(len(texts))
    gaps, spreads = [], []
    for c in range(len(texts)):
        inside, outside = similarity[own[:, c], c], similarity[~own[:, c], c]
        if len(inside) and len(outside):
            gaps.append(inside.mean() - outside.mean())
            spreads.append((inside.var(unbiased=False) + outside.var(unbiased=False)) / 2)
    if not gaps:
        return 0.0
    spread = torch.stack(spreads).mean().sqrt()
    return float(torch.stack(gaps).mean() / spread) if spread > 0 else 0.0


def clauses(description: str, classname: str) -> list[str]:
    """Return the parts of a description that say one thing each, without the class name."""
    plain = re.sub(re.escape(classname.replace("_", " ")), "it", description, flags=re.IGNORECASE)
    parts = [" ".join(part.split()) for part in _CLAUSES.split(plain)]
    return [part for part in parts if len(part) > 2] or [plain]


def _named(classnames: Sequence[str], encode_texts: EncodeTexts) -> Callable[[str], Tensor]:
    """Return word -> (C, D_v) of class prompts."""

    def texts_of(word: str) -> Tensor:
        slot = f" with {word}" if word else ""
        return encode_texts([f"a photo of a {name.replace('_', ' ')}{slot}." for name in classnames])

    return texts_of


def _described(
    classnames: Sequence[str], descriptions: dict[str, str], encode_texts: EncodeTexts
) -> Callable[[str], Tensor]:
    """Return word -> (C, D_v) of descriptions, read for what they say about the word."""
    parts = [clauses(descriptions[name], name) for name in classnames]
    encoded = encode_texts([clause for of_class in parts for clause in of_class]).split([len(p) for p in parts])

    def texts_of(word: str) -> Tensor:
        if not word:
            return torch.stack([of_class.mean(0) for of_class in encoded])
        query = encode_texts([word])[0]
        weights = [torch.softmax(of_class @ query / _SHARPNESS, dim=0) for of_class in encoded]
        return torch.stack([w @ of_class for w, of_class in zip(weights, encoded, strict=True)])

    return texts_of
