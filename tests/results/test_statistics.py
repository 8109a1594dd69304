"""Intervals and tests against slow, obvious versions and known values."""

from __future__ import annotations

import numpy as np
import pytest

from loreal_plugin.results.answers import decode_hits
from loreal_plugin.results.statistics import (
    Interval,
    harmonic_means,
    holm,
    paired_p_value,
    percentile_interval,
    picture_interval,
    resampled_means,
    seed_interval,
)


def answers(n: int, *rates: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.random(n) < rate for rate in rates], 1)


def test_hits_are_read_from_the_first_picture_on() -> None:
    assert decode_hits("a080", 9).tolist() == [
        True,
        False,
        True,
        False,
        False,
        False,
        False,
        False,
        True,
    ]
    for text, total in (("a0", 9), ("a08000", 9), ("xyz", 9)):
        with pytest.raises(ValueError):
            decode_hits(text, total)


def test_resampling_patterns_is_resampling_pictures() -> None:
    given = answers(200, 0.3, 0.8)
    rng = np.random.default_rng(1)
    slow = np.array([100 * given[rng.integers(0, 200, 200)].mean(0) for _ in range(4000)])
    fast = resampled_means(given, np.random.default_rng(2))
    assert np.allclose(slow.mean(0), fast.mean(0), atol=0.3)
    assert np.allclose(np.cov(slow.T), np.cov(fast.T), atol=0.9)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        found = picture_interval([answers(150, 0.6, seed=seed)], lambda means: means[0][:, 0], seed)
        covered += found.low <= 60 <= found.high
    assert 180 <= covered <= 199


def test_interval_of_the_harmonic_mean_resamples_both_halves() -> None:
    parts = [answers(300, 0.7), answers(300, 0.4, seed=1)]
    found = picture_interval(parts, lambda means: harmonic_means(means[0], means[1]).mean(1))
    base, new = (100 * part.mean() for part in parts)
    assert found.low < 2 * base * new / (base + new) < found.high and found.high - found.low < 15
    assert harmonic_means(np.zeros(1), np.zeros(1)).tolist() == [0.0]


def test_exact_mcnemar_on_known_counts() -> None:
    # 6 pictures only we get right, 1 only they: two tails of a fair coin, 2 * (1 + 7) / 128
    ours = np.array([[1]] * 6 + [[0]] + [[1]] * 20, dtype=bool)
    theirs = np.array([[0]] * 6 + [[1]] + [[1]] * 20, dtype=bool)
    assert paired_p_value(ours, theirs) == pytest.approx(0.125)
    assert paired_p_value(ours, ours) == 1.0


def test_seeds_that_repeat_each_other_are_no_more_evidence() -> None:
    ours, theirs = answers(400, 0.62), answers(400, 0.55, seed=1)
    once, thrice = (
        paired_p_value(ours, theirs),
        paired_p_value(ours.repeat(3, 1), theirs.repeat(3, 1)),
    )
    assert thrice == pytest.approx(once)


def test_flipping_signs_finds_a_difference_and_none() -> None:
    better, worse = answers(800, 0.7, 0.72, 0.71), answers(800, 0.6, 0.61, 0.6, seed=1)
    assert paired_p_value(better, worse) < 0.001
    small = [
        paired_p_value(answers(300, 0.6, 0.6, seed=s), answers(300, 0.6, 0.6, seed=s + 500))
        for s in range(100)
    ]
    assert sum(p < 0.05 for p in small) <= 12


def test_interval_over_seeds_is_students() -> None:
    assert seed_interval([60.0]) is None
    found = seed_interval([58.0, 60.0, 62.0])
    assert found.low == pytest.approx(60 - 4.3027 * 2 / 3**0.5, abs=1e-3)
    assert (
        Interval(0.1, 2).excludes_zero
        and Interval(-2, -0.1).excludes_zero
        and not Interval(-1, 1).excludes_zero
    )
    assert percentile_interval(np.arange(1001)).low == pytest.approx(25)


def test_holm_is_monotone_and_never_above_one() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
