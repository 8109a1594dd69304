"""What one would try before LOREAL, on the same frozen models: zero-shot, mean shift, ridge,
up-sampling to every size, token merging.

Shape legend: N pictures, F features a picture, D_v embedding width, C classes.

Every correction is fitted on the few-shot training pictures of the run, never on test pictures.
A model is a `loreal_plugin.students.student.Student`. Zero-shot CLIP is a CoOp student without a
checkpoint, whose context is "a photo of a".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from loreal_plugin.method.correction import choose_ridge_penalty, fit_mean_shift, fit_ridge
from loreal_plugin.results.answers import score_facts
from loreal_plugin.results.record import ScoreFacts

LOW, UPSAMPLED, MERGED = "low", "up-sampled to", "tokens merged to"


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of a list of pictures at one resolution."""

    features: Tensor  # (N, F, D_v), L2-normalised
    labels: Tensor  # (N,)
    seconds: float  # encoder time for all N pictures, reading excluded


@dataclass(frozen=True)
class RivalScore:
    """One rival's score on each test set, and its cost a picture beyond reading (milliseconds).

    `model` and `correction` say what it is: `zero-shot`, `alpha` or `beta`, and what is done to its
    embeddings or pictures ("" for nothing). `name` has both in words, `label` what was fitted, too.
    `kind` says which embeddings it reads; `picture_ms` is the time of one picture alone.
    """

    model: str
    correction: str
    name: str
    label: str
    scores: Mapping[str, ScoreFacts]
    milliseconds: float
    kind: str = LOW
    picture_ms: float | None = None


@dataclass(frozen=True)
class RivalCorrection:
    """What is done to the embeddings of one kind, and what was fitted, in words."""

    kind: str
    apply: Callable[[Tensor], Tensor]
    fitted: str = ""


Timer = Callable[[Mapping[str, RivalCorrection]], Mapping[str, float]]


def size_of(kind: str, phi: int) -> int:
    """Return the size of picture whose number of tokens the image encoder works on, of a kind of
    embeddings; merged tokens are as many as a small picture has.
    """
    return int(kind.removeprefix(UPSAMPLED)) if kind.startswith(UPSAMPLED) else phi


@torch.no_grad()
def embed(
    encoders: Mapping[str, Callable[[Tensor], Tensor]], batches: Iterable[Mapping[str, Tensor]]
) -> dict[str, Embeddings]:
    """Return embeddings by encoder; each batch is read once.

    Args:
        encoders: (B, 3, H, W) -> (B, F, D_v).
        batches: with keys `img` and `label`.
    """
    features: dict[str, list[Tensor]] = {name: [] for name in encoders}
    labels, seconds = [], dict.fromkeys(encoders, 0.0)
    for batch in batches:
        for name, encode in encoders.items():
            start = time.perf_counter()
            features[name].append(encode(batch["img"]).float())
            seconds[name] += time.perf_counter() - start
        labels.append(batch["label"])
    known = torch.cat(labels)
    return {n: Embeddings(torch.cat(found), known, seconds[n]) for n, found in features.items()}


def upsampled(encode: Callable[[Tensor], Tensor], size: int) -> Callable[[Tensor], Tensor]:
    """Return an encoder that first enlarges its input (B, 3, phi, phi) to `size` (bicubic)."""
    return lambda images: encode(
        F.interpolate(images, size=(size, size), mode="bicubic", align_corners=False)
    )


def corrections_of(
    train: Mapping[str, Embeddings], kinds: Iterable[str]
) -> dict[str, RivalCorrection]:
    """Return what is tried, by name, fitted on views of the training pictures.

    Args:
        train: views of few-shot training pictures, as `low` (at phi) and `standard` (at the native
            size), same order.
        kinds: of embeddings that are used as they are, beside `low`.
    """
    low, standard = train[LOW].features, train["standard"].features
    penalty = choose_ridge_penalty(low, standard, train[LOW].labels)
    found = {
        "": RivalCorrection(LOW, lambda f: f),
        "mean shift": RivalCorrection(LOW, fit_mean_shift(low, standard)),
        "ridge": RivalCorrection(LOW, fit_ridge(low, standard, penalty), f" (penalty {penalty:g})"),
    }
    return found | {kind: RivalCorrection(kind, lambda f: f) for kind in kinds if kind != LOW}


def score_rivals(
    model: str,
    text: str,
    corrections: Mapping[str, RivalCorrection],
    *,
    test: Mapping[str, Mapping[str, Embeddings]],
    classify: Callable[[str, Tensor], Tensor],
    timer: Timer | None = None,
) -> list[RivalScore]:
    """Return the score of one frozen model with each correction.

    Args:
        model: which model it is, in records: `zero-shot`, `alpha` or `beta`.
        text: its name in the rows, for people.
        corrections: what is done to its embeddings, by name.
        test: name of a test set -> embeddings of its pictures by kind.
        classify: (test set, features (N, F, D_v)) -> logits (N, C) against the texts of its
            classes.
        timer: corrections -> milliseconds of one picture alone with each; None measures none.
    """
    times = timer(corrections) if timer else {}
    rows = []
    for correction, how in corrections.items():
        found = {name: kinds[how.kind] for name, kinds in test.items()}
        start = time.perf_counter()
        predicted = {
            name: classify(name, how.apply(e.features)).argmax(1).tolist()
            for name, e in found.items()
        }
        # what was encoded once for all corrections counts for each of them
        seconds = time.perf_counter() - start + sum(e.seconds for e in found.values())
        cost = 1000 * seconds / sum(map(len, predicted.values()))
        name = f"{text}, {correction}" if correction else text
        scores = {
            test_set: score_facts(found[test_set].labels.tolist(), labels)
            for test_set, labels in predicted.items()
        }
        label, alone = f"{name}{how.fitted}", times.get(correction)
        rows.append(RivalScore(model, correction, name, label, scores, cost, how.kind, alone))
    return rows
