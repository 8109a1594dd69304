"""Inference modes: beta's logits with the text encoder for every class, for a few, or for none.

All are functions of one image alone. `exact` is the reference; what the others cost and how often
they agree with it is measured by `loreal calibrate`.

Shapes: B images, C classes, N pairs of an image and a class, K attributes, F features an image,
H = K * D_s activations of the meta-nets, D_v joint embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from loreal_plugin.contract import HostContract
from loreal_plugin.errors import ConfigError, unknown_name
from loreal_plugin.inference.expansion import Expansion
from loreal_plugin.inference_modes import CALIBRATED, CHOICES, MODES, first_pass
from loreal_plugin.method.meta_nets import MetaNets
from loreal_plugin.options import LorealOptions
from loreal_plugin.students.student import Student


def check_inference(contract: HostContract, options: LorealOptions) -> None:
    """Check that a method and the other options allow the inference mode.

    Raises:
        ConfigError: there is no such mode; the host's prompts differ from image to image; or the
            contents are those of the batch mean, or one for all images. `calibrated` then stands
            for `exact`.
    """
    if options.inference not in CHOICES:
        raise ConfigError(unknown_name("inference mode", options.inference, CHOICES))
    if options.inference in ("exact", CALIBRATED):
        return
    asked = f"INFERENCE {options.inference}"
    if not contract.static_prompts:
        raise ConfigError(
            f"{asked} is not possible for method '{contract.method}', whose own context depends on"
            " the image; set TRAINER.LOREAL.INFERENCE exact"
        )
    batch = options.conditioning == "batch"
    if batch or options.constant_conditioning:
        other = "CONDITIONING batch" if batch else "CONSTANT_CONDITIONING True"
        raise ConfigError(
            f"{asked} is for contents of single images, not for {other}; set INFERENCE exact"
        )


@dataclass
class Mode:
    """Features of images -> logits, in one mode.

    Attributes:
        mode: a choice of the key INFERENCE.
        student: beta, with slots in its prompts.
        meta_nets: make the contents.
        fusion: whether the host's mix of several features counts.
        mean: (H,) activations of the mean training image; `exact` does without.
        expansion: of beta's text features; `tangent` and `auto` need it.
        k: classes of an image that are run exactly, all of them in `shortlist`, at most in `auto`.
        margin: `auto` runs classes exactly whose logit lies no further below the highest.
    """

    mode: str
    student: Student
    meta_nets: MetaNets
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
        kind = first_pass(self.mode)
        if kind == "static":
            return self.student.logits(features, self.static_text(), self.fusion)
        hidden = self._hidden(features)
        if kind == "exact":
            text = self.student.text_path(self.meta_nets.from_hidden(hidden))
            return self.student.logits(features, text, self.fusion)
        series = self.expansion
        assert series is not None, "tangent and auto are built with an expansion"
        terms = series.directions(hidden.flatten(1))  # (B, T)
        parts = [
            self.student.logits(features, series.features(terms, classes), self.fusion)
            for classes in series.chunks(len(features))
        ]
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def refine(self, features: Tensor, first: Tensor) -> Tensor:
        """Return logits (B, C): exact for the classes that the mode checks, the others below these.

        Args:
            first: (B, C) from `first` of the same features.
        """
        if not MODES[self.mode].refines:
            return first
        images, classes = self.checked(first).nonzero(as_tuple=True)
        if not len(images):
            return first
        checked, row = images.unique(return_inverse=True)  # contents are made once an image
        contents = self.meta_nets.from_hidden(self._hidden(features[checked]))
        text = self.student.text_path.pairs(contents, row, classes)  # (N, D_v)
        exact = self.student.logits(features[images], text[:, None], self.fusion)[:, 0]
        return merge(first, images, classes, exact)

    def checked(self, first: Tensor) -> Tensor:
        """Return which classes (B, C) run exactly in a mode that refines these logits (B, C)."""
        margin = self.margin if MODES[self.mode].needs_margin else float("inf")
        return contenders(first, self.k, margin)

    @torch.no_grad()
    def static_text(self) -> Tensor:
        """Return the text features (C, D_v) of the mean training image, computed once."""
        if self._static is None:
            assert self.mean is not None, "static and shortlist are built with a mean"
            hidden = self.mean.unflatten(0, (len(self.meta_nets.meta_nets), -1))  # (K, D_s)
            self._static = self.student.text_path(self.meta_nets.from_hidden(hidden[None]))[0]
        return self._static

    def _hidden(self, features: Tensor) -> Tensor:
        """Return the activations (B, K, D_s) of the meta-nets' bottlenecks."""
        return self.meta_nets.hidden(self.student.condition(features))

    @property
    def n_bytes(self) -> int:
        """Memory that the mode's tables hold, beyond the models."""
        static = self._static
        series = self.expansion.n_bytes if self.expansion is not None else 0
        return series + (static.numel() * static.element_size() if static is not None else 0)


def contenders(logits: Tensor, k: int, margin: float) -> Tensor:
    """Return which classes (B, C) may be the highest: at most k, none more than `margin` below it.

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
    """Return logits (B, C) with exact values (N,) in place, and these images' other classes below.

    The other classes were ruled out by the first pass: they keep their order, capped just under the
    lowest exact value, so that the highest logit is always one that was checked.
    """
    lowest = first.new_full((len(first),), float("inf")).scatter_reduce(0, images, exact, "amin")
    kind = torch.finfo(first.dtype)
    # Images without a checked class stay at infinity, so nothing of them is capped.
    step = 2 * kind.eps * lowest.abs().clamp(min=1, max=kind.max)
    merged = torch.minimum(first, (lowest - step)[:, None])
    merged[images, classes] = exact
    return merged
