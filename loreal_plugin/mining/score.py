"""How well an attribute word can be told from training pictures at the native size and at phi.

Shapes: N pictures, C classes, V values of a word, D_v joint embedding width.

Two measures; f_i(s) are a picture's features at size s.

*Reading*, for words with values ("coat color": brown, white, ...; the file's `values`). With t_v
the text feature of "a photo of a thing with v v w." - the slot as it is when its two contents say v
- minus its mean over the values,

    z_iv(s) = f_i(s) . t_v, minus its mean over the pictures
    reading(w) = sum_iv z_iv(native) z_iv(phi) / (|z(native)| |z(phi)|)

the correlation of what the slot reads in the same pictures at both sizes: 1 = nothing is lost, 0 =
at phi it reads something else. `same value` is the share of pictures whose highest z is of the same
value. No label is used; whether the reading is right at the native size is not measured.

*Class margin*, for every word. For a word w every class c has a text feature t_c(w), made of the
file alone:

- with descriptions: the description of c (its class name taken out) is cut into clauses; t_c(w) is
  the mean of their text features, weighted by softmax(cos(clause, w) / 0.05): what the description
  says about w;
- without: the text "a photo of a CLS with w.".

With u_c the unit-length t_c minus its mean over the classes and s_ic = f_i . u_c:

    margin(w) = mean_c [ mean_{i in c} s_ic - mean_{i not in c} s_ic ] / spread
    spread^2  = mean_c [ var_{i in c} s_ic + var_{i not in c} s_ic ] / 2

a class's pictures against all others, in standard deviations: 0 = cannot be told. Without
descriptions the class name dominates the text, so only the difference from the prompt without a
word says anything, and that little.

Both measure what this CLIP connects with the texts, not what a trained meta-net will make of the
slot.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EncodeTexts = Callable[[Sequence[str]], Tensor]
NO_WORD = ""
VALUE_TEXT = "a photo of a thing with {v} {v} {w}."
_SHARPNESS = 0.05
_CLAUSES = re.compile(r"[,;:.]|\b(?:with|on|against|between|in front of|and)\b")


@dataclass(frozen=True)
class WordScore:
    """A word's margins and, with values, its reading; `word` is "" for texts without a word."""

    word: str
    native: float
    phi: float
    reading: float | None = None
    same_value: float | None = None

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
    values: Mapping[str, Sequence[str]] | None = None,
) -> list[WordScore]:
    """Return the score of the texts without a word, then of every word, the best first.

    Words are ranked by their reading, then by their margin at phi.

    Args:
        words: candidates.
        classnames: C names, in the order of the labels.
        native, phi: (N, D_v) features of the same pictures at both sizes, L2-normalised.
        labels: (N,).
        encode_texts: texts -> (n, D_v), L2-normalised.
        descriptions: class name -> sentence, for every class; None = class prompts.
        values: word -> two or more values, for the words that have a reading.
    """
    texts_of = (
        _described(classnames, descriptions, encode_texts)
        if descriptions
        else _named(classnames, encode_texts)
    )
    scores = []
    for word in [NO_WORD, *words]:
        texts = texts_of(word)
        read: tuple[float | None, float | None] = (None, None)
        if word and (values or {}).get(word):
            of_values = encode_texts([VALUE_TEXT.format(v=v, w=word) for v in values[word]])
            read = reading(native, phi, of_values)
        margins = (class_margin(features, labels, texts) for features in (native, phi))
        scores.append(WordScore(word, *margins, *read))

    def rank(score: WordScore) -> tuple[float, float]:
        return (-math.inf if score.reading is None else score.reading), score.phi

    return scores[:1] + sorted(scores[1:], key=rank)[::-1]


def reading(native: Tensor, phi: Tensor, texts: Tensor) -> tuple[float, float]:
    """Return correlation and share of equal values that texts (V, D_v) read at two sizes."""
    texts = (texts - texts.mean(0)).double()
    z = [features.double() @ texts.T for features in (native, phi)]  # (N, V)
    z = [one - one.mean(0) for one in z]
    norm = z[0].norm() * z[1].norm()
    same = (z[0].argmax(1) == z[1].argmax(1)).double().mean()
    return (float((z[0] * z[1]).sum() / norm) if norm > 0 else 0.0), float(same)


def class_margin(features: Tensor, labels: Tensor, texts: Tensor) -> float:
    """Return the margin, standardised, of pictures (N, D_v), labels (N,), texts (C, D_v)."""
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
        return encode_texts(
            [f"a photo of a {name.replace('_', ' ')}{slot}." for name in classnames]
        )

    return texts_of


def _described(
    classnames: Sequence[str], descriptions: dict[str, str], encode_texts: EncodeTexts
) -> Callable[[str], Tensor]:
    """Return word -> (C, D_v) of descriptions, read for what they say about the word."""
    parts = [clauses(descriptions[name], name) for name in classnames]
    encoded = encode_texts([clause for of_class in parts for clause in of_class]).split(
        [len(p) for p in parts]
    )

    def texts_of(word: str) -> Tensor:
        if not word:
            return torch.stack([of_class.mean(0) for of_class in encoded])
        query = encode_texts([word])[0]
        weights = [torch.softmax(of_class @ query / _SHARPNESS, dim=0) for of_class in encoded]
        return torch.stack([w @ of_class for w, of_class in zip(weights, encoded, strict=True)])

    return texts_of
