"""Intervals and paired tests on right and wrong answers.

Shape legend: N test pictures, R runs (seeds), D bootstrap draws.

Resampling N pictures with replacement only changes how often each distinct pattern of answers
occurs. So a draw is one multinomial sample over the patterns: exact, and far cheaper than drawing
N indices.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
DRAWS = 4000
FLIPS = 20000


@dataclass(frozen=True)
class Interval:
    """Bounds of a 95 % interval, in the unit of what it bounds."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.2f} to {self.high:.2f}"

    @property
    def excludes_zero(self) -> bool:
        """Return whether zero is outside."""
        return self.low > 0 or self.high < 0


def resampled_means(answers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return means (D, R) in percent of answers (N, R) over pictures drawn with replacement."""
    patterns, counts = np.unique(answers, axis=0, return_counts=True)
    n = len(answers)
    drawn = rng.multinomial(n, counts / n, size=DRAWS)  # (D, number of patterns)
    return 100 * drawn @ patterns.astype(np.float64) / n


def percentile_interval(values: np.ndarray) -> Interval:
    """Return the interval that leaves out equal tails of the values (D,)."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def picture_interval(
    parts: Sequence[np.ndarray],
    combine: Callable[[Sequence[np.ndarray]], np.ndarray],
    seed: int = 0,
) -> Interval:
    """Return the interval over test pictures of a statistic of several test sets.

    Args:
        parts: answers (N_p, R) of each test set, resampled independently of each other.
        combine: the resampled means (D, R) of each part -> the statistic (D,).
    """
    rng = np.random.default_rng(seed)
    return percentile_interval(combine([resampled_means(part, rng) for part in parts]))


def harmonic_means(base: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return the elementwise harmonic mean, 0 where both are 0."""
    total = base + new
    return np.divide(2 * base * new, total, out=np.zeros_like(total), where=total > 0)


def seed_interval(values: Sequence[float]) -> Interval | None:
    """Return Student's t interval of the mean over seeds; None for a single seed."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    mean, spread = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    reach = float(t.ppf((1 + LEVEL) / 2, len(values) - 1)) * spread
    return Interval(mean - reach, mean + reach)


def paired_p_value(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the two-sided p-value of equal accuracy on the same pictures.

    One run each: McNemar's exact test, a binomial test on the pictures that one gets right and the
    other wrong. Several seeds: the same idea with the picture as the unit, because answers of
    different seeds to one picture are not independent. The sign of a picture's difference, summed
    over seeds, is flipped at random.

    Args:
        ours, theirs: answers (N, R).
    """
    difference = ours.astype(np.int64).sum(1) - theirs.astype(np.int64).sum(1)
    sizes, counts = np.unique(np.abs(difference[difference != 0]), return_counts=True)
    if not len(sizes):
        return 1.0
    if len(sizes) == 1:  # all differences are equally large, as with one run each: signs decide
        from scipy.stats import binomtest

        return float(binomtest(int((difference > 0).sum()), int(counts[0])).pvalue)
    rng = np.random.default_rng(0)
    # flips of equal size are drawn together: heads minus tails, times the size
    flipped = sum(
        size * (2 * rng.binomial(count, 0.5, FLIPS) - count)
        for size, count in zip(sizes, counts, strict=True)
    )
    return float((1 + (np.abs(flipped) >= abs(difference.sum())).sum()) / (1 + FLIPS))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm), in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def mean_std(values: Sequence[float], digits: int = 2) -> str:
    """Return `mean ± sample standard deviation`, the mean alone for one value, a dash for none."""
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean
