"""The correction: a fixed affine map that takes low-resolution embeddings to the standard ones.

A picture's embedding at phi differs from its embedding at the native size. One part of the
difference is the same for all pictures: `mean` removes it. The rest is each picture's own: `ridge`
also removes what a linear map can learn of it. The map is kept as small as other classes need.
Both are fitted once, on training pictures, and act on each picture alone.

Shapes: N pictures (or pictures x views), F features a picture, D_v embedding width.
Source: not of the LOREAL paper; a baseline, measured beside it (results/EARLIER.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from loreal_plugin.errors import ConfigError, unknown_name

CORRECTIONS = ("none", "mean", "ridge")
RIDGE_PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
_PREFIX = "drift."  # of the keys in a checkpoint; the option is called DRIFT


@dataclass(frozen=True)
class Correction:
    """The map f -> normalize(f @ weight + offset), one per feature; without a weight: a shift."""

    offset: Tensor  # (F, D_v) float32
    weight: Tensor | None = None  # (F, D_v, D_v) float32

    def __call__(self, features: Tensor) -> Tensor:
        """Return corrected, L2-normalised features of the shape (B, F, D_v) and dtype given."""
        moved = features.float()
        if self.weight is not None:
            moved = torch.einsum("bfv,fvw->bfw", moved, self.weight.to(moved.device))
        return F.normalize(moved + self.offset.to(moved.device), dim=-1).to(features.dtype)

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps of the map."""
        found = {"offset": self.offset, "weight": self.weight}
        return {f"{_PREFIX}{name}": t for name, t in found.items() if t is not None}


def correction_from_tensors(tensors: Mapping[str, Tensor]) -> Correction | None:
    """Return the map that a checkpoint keeps, None where it has none."""
    offset = tensors.get(f"{_PREFIX}offset")
    return None if offset is None else Correction(offset, tensors.get(f"{_PREFIX}weight"))


def fit_correction(kind: str, low: Tensor, standard: Tensor, labels: Tensor) -> Correction | None:
    """Return the map of a kind, fitted on features (N, F, D_v) of the same pictures at both sizes.

    Args:
        labels: (N,) classes of the pictures; `ridge` holds classes out to choose its penalty.

    Raises:
        ConfigError: unknown kind.
    """
    if kind not in CORRECTIONS:
        raise ConfigError(unknown_name("DRIFT", kind, CORRECTIONS))
    if kind == "none":
        return None
    if kind == "mean":
        return fit_mean_shift(low, standard)
    return fit_ridge(low, standard, choose_ridge_penalty(low, standard, labels))


def fit_mean_shift(low: Tensor, standard: Tensor) -> Correction:
    """Return the map that adds the difference of the means of features (N, F, D_v)."""
    return Correction((standard.double().mean(0) - low.double().mean(0)).float())


def fit_ridge(low: Tensor, standard: Tensor, penalty: float) -> Correction:
    """Return the ridge regression low -> standard of paired features (N, F, D_v), one per feature.

    The penalty is on the map's distance from the identity, so a large one gives the mean shift and
    a small one least squares. Solved in float64: with N near D_v the normal equations lose too much
    in float32.
    """
    weights, offsets = [], []
    for f in range(low.shape[1]):
        x, y = low[:, f].double(), standard[:, f].double()
        mean_x, mean_y = x.mean(0), y.mean(0)
        centred = x - mean_x
        identity = torch.eye(x.shape[1], dtype=torch.float64, device=x.device)
        gram = centred.T @ centred + penalty * identity
        weight = identity + torch.linalg.solve(gram, centred.T @ (y - mean_y - centred))
        weights.append(weight)
        offsets.append(mean_y - mean_x @ weight)
    return Correction(torch.stack(offsets).float(), torch.stack(weights).float())


def choose_ridge_penalty(
    low: Tensor, standard: Tensor, labels: Tensor, penalties: Sequence[float] = RIDGE_PENALTIES
) -> float:
    """Return the largest penalty that is as good as the best on classes it was not fitted on.

    Each half of the classes is predicted by the map fitted on the other half: whole classes are
    held out, because the map has to carry over to classes it never saw. "As good" means a mean
    cosine within one standard error (over classes) of the best one. With a single class there is
    nothing to hold out, and the largest penalty is returned.

    Args:
        low, standard: paired features (N, F, D_v).
        labels: (N,).
    """
    classes, index = torch.unique(labels, return_inverse=True)
    if len(classes) < 2:
        return max(penalties)
    second_half = index % 2 == 1

    def similarities(penalty: float) -> Tensor:
        """Return the mean cosine of each class (C,)."""
        cosines = torch.empty(len(labels), dtype=torch.float64)
        for held_out in (second_half, ~second_half):
            mapped = fit_ridge(low[~held_out], standard[~held_out], penalty)(low[held_out])
            similar = (mapped * standard[held_out]).sum(-1).mean(-1)  # (N,), mean over features
            cosines[held_out.cpu()] = similar.double().cpu()
        return torch.stack([cosines[index.cpu() == c].mean() for c in range(len(classes))])

    by_penalty = {penalty: similarities(penalty) for penalty in penalties}
    best = max(by_penalty.values(), key=lambda of_classes: float(of_classes.mean()))
    lowest = best.mean() - best.std() / len(classes) ** 0.5
    return max(penalty for penalty, of_classes in by_penalty.items() if of_classes.mean() >= lowest)
