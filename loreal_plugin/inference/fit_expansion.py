"""Making an expansion: from derivatives at the training mean, or fitted to training images.

Shapes: as in `inference.expansion`; `encode` is activations (n, H) -> features (n, C, D_v)
of the classes that are being expanded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from loreal_plugin.inference.expansion import Directions

Encode = Callable[[Tensor], Tensor]

# Training images that are encoded exactly per unknown of a fit, and the least number.
SAMPLES_PER_TERM, MIN_SAMPLES = 6, 64
# Ridge penalty of the fit, in units of one image: terms are of unit spread.
_RIDGE = 0.01
# Half-width of a difference quotient in units of the spread: small against the curvature of trained
# models (0.05 and 1 gave the same agreement), large against the rounding of float32.
_STEP = 0.25


@torch.no_grad()
def forward_derivatives(
    encode: Encode, directions: Directions, at_once: int = 8
) -> tuple[Tensor, Tensor]:
    """Return features (C, D_v) at the mean, and their slopes (R, C, D_v) along each direction.

    Forward mode: the features at the mean are computed once for `at_once` directions. Fused
    attention has no forward derivative, so the plain one is chosen for as long as this runs.

    Args:
        encode: may use no function without a forward derivative; hosts' own text encoders may
            (MMA's), the prefix path does not.
        at_once: directions a pass.
    """
    steps = (directions.basis * directions.spread).T.contiguous()  # (R, H)

    def along(step: Tensor) -> tuple[Tensor, Tensor]:
        found = torch.func.jvp(lambda h: encode(h[None])[0], (directions.mean,), (step,))
        return found[0], found[1]

    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        # PyTorch scripts its own forward formulas, and warns of it.
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
        parts = [torch.vmap(along)(part) for part in steps.split(at_once)]
    return parts[0][0][0], torch.cat([slope for _, slope in parts])


@torch.no_grad()
def difference_quotients(
    encode: Encode, directions: Directions, at_once: int = 8
) -> tuple[Tensor, Tensor]:
    """Return what `forward_derivatives` does, from features a little to both sides of the mean."""
    steps = (directions.basis * directions.spread).T * _STEP
    slopes = []
    for part in steps.split(at_once):
        sides = encode(torch.cat([directions.mean + part, directions.mean - part]))
        ahead, behind = sides.chunk(2)
        slopes.append((ahead - behind) / (2 * _STEP))
    return encode(directions.mean[None])[0], torch.cat(slopes)


def n_samples(directions: Directions) -> int:
    """Return how many training images a fit of these terms wants."""
    return max(MIN_SAMPLES, SAMPLES_PER_TERM * (1 + directions.n_terms))


@torch.no_grad()
def fit(
    encode: Encode, directions: Directions, sample: Tensor, at_once: int = 32
) -> tuple[Tensor, Tensor]:
    """Return constant (C, D_v) and change (T, C, D_v) per unit of each term, by least squares.

    What is fitted are the normalised features, which is what logits see. Against the derivatives at
    the mean this spreads the error of leaving out curvature over the images that there are.

    Args:
        sample: (N, H) activations of training images.
        at_once: images a pass of `encode`.
    """
    terms = directions(sample).double()
    design = torch.cat([terms.new_ones(len(terms), 1), terms], dim=1)
    gram = design.T @ design
    gram.diagonal().add_(_RIDGE)
    # A fixed linear map of the samples' features: they are added up as they come, none is kept.
    weights = torch.linalg.solve(gram, design.T)  # (1 + T, N)
    total: Tensor | None = None
    for part, columns in zip(sample.split(at_once), weights.split(at_once, dim=1), strict=True):
        features = F.normalize(encode(part).float(), dim=-1)
        added = torch.tensordot(columns.float(), features, dims=1)
        total = added if total is None else total + added
    assert total is not None, "a sample has pictures"
    return total[0], total[1:]
