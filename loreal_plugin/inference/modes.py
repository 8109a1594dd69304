"""Inference modes: beta's logits with the text encoder for every class, for a few, or for none.

All are functions of one image alone. `exact` is the reference; what the others cost and how often
they agree with it is measured by `loreal calibrate`.

Shapes: B images, C classes, N pairs of an image and a class, K attributes, F features an image, H =
K * D_s activations of the meta-nets, D_v joint embedding width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from loreal_plugin.inference.expansion import Expansion
from loreal_plugin.method.meta_nets import MetaNets
from loreal_plugin.students.student import Student
from loreal_plugin.text import PrefixTextPath, ReferenceTextPath

# Whose text features come first in a mode that refines them; "" = the mode is not refined.
FIRST_PASS = {"shortlist": "static", "auto": "tangent"}


@dataclass
class Inference:
    """Features of images -> logits, in one mode.

    Attributes:
        mode: a choice of the key INFERENCE.
        student: beta.
        path: contents -> text features of beta's prompts.
        meta_nets: make the contents.
        condition: features (B, F, D_v) -> what the meta-nets read (B, D_v).
        fusion: whether the host's mix of several features counts.
        mean: (H,) activations of the mean training image; `exact` does without.
        expansion: of beta's text features; `tangent` and `auto` need it.
        k: classes of an image that are run exactly, all of them in `shortlist`, at most in `auto`.
        margin: `auto` runs classes exactly whose logit lies no further below the highest.
    """

    mode: str
    student: Student
    path: PrefixTextPath | ReferenceTextPath
    meta_nets: MetaNets
    condition: Callable[[Tensor], Tensor]
    fusion: bool
    mean: Tensor | None = None
    expansion: Expansion | None = None
    k: int = 5
    margin: float = 0.0
    _static: Tensor | None = field(default=None, repr=False)

    @torch.no_grad()
    def __call__(self, features: Tensor) -> Tensor:
        """Return logits (B, C) of features (B, F, D_v)."""
        return self.refine(features, self.first(features))

    @torch.no_grad()
    def first(self, features: Tensor) -> Tensor:
        """Return the logits (B, C) of the mode's pass over all classes."""
        kind = FIRST_PASS.get(self.mode, self.mode)
        if kind == "static":
            return self.student.logits(features, self._static_text(), self.fusion)
        hidden = self._hidden(features)
        if kind == "exact":
            return self.student.logits(
                features, self.path(self.meta_nets.from_hidden(hidden)), self.fusion
            )
        series = self.expansion
        terms = series.directions(hidden.flatten(1))
        parts = [
            self.student.logits(features, series.features(terms, classes), self.fusion)
            for classes in series.chunks(len(features))
        ]
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def refine(self, features: Tensor, first: Tensor) -> Tensor:
        """Return logits (B, C) in which the classes that the mode checks are exact, and none stands
        above these.

        Args:
            first: (B, C) from `first` of the same features.
        """
        if self.mode not in FIRST_PASS:
            return first
        margin = float("inf") if self.mode == "shortlist" else self.margin
        images, classes = contenders(first, self.k, margin).nonzero(as_tuple=True)
        if not len(images):
            return first
        used, row = images.unique(return_inverse=True)
        contents = self.meta_nets.from_hidden(self._hidden(features[used]))
        text = self.path.pairs(contents, row, classes)
        exact = self.student.logits(features[images], text[:, None], self.fusion)[:, 0]
        return merge(first, images, classes, exact)

    def _hidden(self, features: Tensor) -> Tensor:
        return self.meta_nets.hidden(self.condition(features))

    def _static_text(self) -> Tensor:
        """Return the text features (C, D_v) of the mean training image, computed once."""
        if self._static is None:
            hidden = self.mean.unflatten(0, (len(self.meta_nets.meta_nets), -1))
            self._static = self.path(self.meta_nets.from_hidden(hidden[None]))[0]
        return self._static

    @property
    def n_bytes(self) -> int:
        """Memory that the mode's tables hold, beyond the models."""
        held = self.expansion.n_bytes if self.expansion is not None else 0
        return held + (
            self._static.numel() * self._static.element_size() if self._static is not None else 0
        )


def contenders(logits: Tensor, k: int, margin: float) -> Tensor:
    """Return which classes (B, C) may turn out to be the highest: at most k, none further than
    `margin` below it.

    An image with a single contender has none marked: there is nothing to decide.

    Args:
        logits: (B, C).
        k: at least 1.
        margin: in logits.
    """
    top = logits.topk(min(k, logits.shape[1]), dim=1)
    near = top.values >= top.values[:, :1] - margin
    decided = (near.sum(dim=1, keepdim=True) == 1) & (margin != float("inf"))
    return torch.zeros_like(logits, dtype=torch.bool).scatter(1, top.indices, near & ~decided)


def merge(first: Tensor, images: Tensor, classes: Tensor, exact: Tensor) -> Tensor:
    """Return logits (B, C) with exact values (N,) at their places and all others of these images
    below them.

    The other classes were ruled out by the first pass: they keep their order, capped just under the
    lowest exact value, so that the highest logit is always one that was checked.
    """
    lowest = first.new_full((len(first),), float("inf")).scatter_reduce(0, images, exact, "amin")
    kind = torch.finfo(first.dtype)
    step = (
        2 * kind.eps * lowest.abs().clamp(min=1, max=kind.max)
    )  # images without a checked class stay at infinity
    merged = torch.minimum(first, (lowest - step)[:, None])
    merged[images, classes] = exact
    return merged
