"""How well an inference mode agrees with `exact`, and the threshold of `auto`.

Shapes: N held-out images, C classes. Logits are in their own units, scale included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Agreement:
    """A mode's logits against the exact ones of the same images, in percent and in logits."""

    agreement: float
    accuracy: float
    median_error: float
    p99_error: float
    largest_error: float


def compare(logits: Tensor, exact: Tensor, labels: Tensor) -> Agreement:
    """Return how a mode's logits (N, C) agree with the exact ones.

    The error of an image is its largest over classes. A class that a mode ruled out counts like
    any other: with the capped logit that `modes.merge` gives it.
    """
    chosen = logits.argmax(1)
    error = (logits.float() - exact.float()).abs().amax(dim=1)
    return Agreement(
        agreement=_percent(chosen == exact.argmax(1)),
        accuracy=_percent(chosen == labels),
        median_error=float(error.median()),
        p99_error=float(error.quantile(0.99)),
        largest_error=float(error.max()),
    )


def choose_margin(first: Tensor, exact: Tensor, k: int, target: float) -> tuple[float, bool]:
    """Return the smallest threshold at which `auto` finds enough winners, and whether it is sure.

    `auto` finds the exact winner of an image on two conditions. In the first pass it is among the k
    leading classes, and it is no further below the highest logit than the threshold. So the
    threshold is an order statistic of these distances: number (N + 1) * target, rounded up. Then
    the share holds for a new image of the same kind, not for these alone. It is not sure with too
    few images, or where k classes do not suffice. Then the largest distance within k classes is
    the threshold.

    Args:
        first: (N, C) logits of the first pass.
        exact: (N, C) exact logits.
        k: classes that `auto` checks at most.
        target: wanted share, in (0, 1].
    """
    winner = exact.argmax(1, keepdim=True)
    value = first.gather(1, winner)
    # how far below the first pass's highest logit the exact winner lies
    needed = (first.amax(1, keepdim=True) - value)[:, 0].double()
    # A winner that stands behind k others is out of reach of any threshold.
    rank = (first > value).sum(1)
    needed[rank >= k] = math.inf
    ordered = needed.sort().values
    number = math.ceil((len(ordered) + 1) * target)
    if number <= len(ordered) and math.isfinite(float(ordered[number - 1])):
        return _above(float(ordered[number - 1])), True
    reachable = ordered[ordered.isfinite()]
    return (_above(float(reachable[-1])) if len(reachable) else 0.0), False


def _above(value: float) -> float:
    """Return a threshold that a gap of this size, computed once more, still lies within."""
    return value + 1e-4 * max(1.0, abs(value)) if value > 0 else 0.0


def _percent(hits: Tensor) -> float:
    return 100 * float(hits.float().mean())


def cheapest(rows: list[dict[str, Any]], target: float) -> dict[str, Any]:
    """Return the row with the least time among those that reach the target agreement.

    Args:
        rows: with `agreement` in percent and `milliseconds`; that of `exact` reaches any target.
        target: wanted share, in (0, 1].
    """
    good = [row for row in rows if row["agreement"] >= 100 * target]
    return min(good, key=lambda row: row["milliseconds"])


def in_batches(call: Any, features: Tensor, size: int) -> Tensor:
    """Return what `call` gives for features (N, F, D_v), `size` images at a time, on the CPU."""
    return torch.cat([call(part).cpu() for part in features.split(size)])
