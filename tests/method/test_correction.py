"""Corrections against closed forms and naive versions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from loreal_plugin.errors import ConfigError
from loreal_plugin.method.correction import (
    choose_ridge_penalty,
    correction_from_tensors,
    fit_correction,
    fit_mean_shift,
    fit_ridge,
)


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_mean_shift_moves_every_feature_by_its_own_mean() -> None:
    low, standard, new = unit(9, 2, 4), unit(9, 2, 4, seed=1), unit(3, 2, 4, seed=2)
    got = fit_mean_shift(low, standard)(new)
    for picture in range(3):
        for feature in range(2):
            moved = new[picture, feature] - low[:, feature].mean(0) + standard[:, feature].mean(0)
            torch.testing.assert_close(got[picture, feature], moved / moved.norm())


@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_ridge_is_the_least_squares_of_the_augmented_system(penalty: float) -> None:
    low, standard, new = unit(12, 2, 5), unit(12, 2, 5, seed=1), unit(3, 2, 5, seed=2)
    got = fit_ridge(low, standard, penalty)(new)
    for feature in range(2):
        x, y = low[:, feature].double(), standard[:, feature].double()
        pull = penalty**0.5 * torch.eye(5, dtype=torch.float64)  # towards the identity
        w = torch.linalg.lstsq(
            torch.cat([x - x.mean(0), pull]), torch.cat([y - y.mean(0), pull])
        ).solution
        naive = F.normalize((new[:, feature].double() - x.mean(0)) @ w + y.mean(0), dim=-1)
        torch.testing.assert_close(got[:, feature].double(), naive, atol=1e-6, rtol=1e-5)


def test_a_large_penalty_gives_the_mean_shift() -> None:
    low, standard, new = unit(12, 2, 5), unit(12, 2, 5, seed=1), unit(3, 2, 5, seed=2)
    got = fit_ridge(low, standard, 1e9)(new)
    torch.testing.assert_close(got, fit_mean_shift(low, standard)(new), atol=1e-6, rtol=1e-5)


def test_ridge_recovers_an_exact_linear_map() -> None:
    low = unit(40, 1, 4)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(3))).Q
    new = unit(5, 1, 4, seed=4)
    torch.testing.assert_close(
        fit_ridge(low, low @ turn, 1e-9)(new), new @ turn, atol=1e-5, rtol=1e-4
    )


def test_penalty_is_the_one_that_carries_over_to_held_out_classes() -> None:
    labels = torch.arange(40) % 4
    low, own = unit(40, 1, 8), unit(4, 1, 8, seed=1)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(3))).Q
    assert choose_ridge_penalty(low, low @ turn, labels, (1e-6, 1e3)) == 1e-6, (
        "a true map wants no penalty"
    )
    apart = F.normalize(low + own[labels], dim=-1)
    assert choose_ridge_penalty(low, apart, labels, (1e-6, 1e3)) == 1e3, (
        "what is a class's own does not carry over"
    )
    one_class = torch.zeros(40, dtype=torch.long)
    assert choose_ridge_penalty(low, low @ turn, one_class, (1.0, 3.0, 2.0)) == 3.0, (
        "nothing to hold out"
    )


@pytest.mark.parametrize("noise", [0.05, 0.5, 2.0])
def test_penalty_is_the_largest_within_one_standard_error_of_the_best(noise: float) -> None:
    low, names = (
        unit(60, 2, 6),
        [3, 5, 8, 9, 20],
    )  # labels need be neither dense nor of both parities
    labels = torch.tensor([names[i % 5] for i in range(60)])
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(3))).Q
    standard = F.normalize(low @ turn + noise * unit(60, 2, 6, seed=4), dim=-1)
    penalties = (0.1, 1.0, 10.0, 100.0)
    mean, error = {}, {}
    for penalty in penalties:
        per_class = []
        for c, name in enumerate(names):
            fitted_on = [i for i in range(60) if names.index(int(labels[i])) % 2 != c % 2]
            drift = fit_ridge(low[fitted_on], standard[fitted_on], penalty)
            mine = [i for i in range(60) if int(labels[i]) == name]
            cosines = [
                float(drift(low[i : i + 1])[0, f] @ standard[i, f]) for i in mine for f in range(2)
            ]
            per_class.append(sum(cosines) / len(cosines))
        mean[penalty] = sum(per_class) / 5
        error[penalty] = (sum((x - mean[penalty]) ** 2 for x in per_class) / 4 / 5) ** 0.5
    best = max(penalties, key=mean.get)
    wanted = max(p for p in penalties if mean[p] >= mean[best] - error[best])
    assert choose_ridge_penalty(low, standard, labels, penalties) == wanted


@pytest.mark.parametrize("kind", ["mean", "ridge"])
def test_a_stored_drift_is_the_same_map(kind: str) -> None:
    low, standard, new = unit(12, 2, 5), unit(12, 2, 5, seed=1), unit(3, 2, 5, seed=2)
    drift = fit_correction(kind, low, standard, torch.arange(12) % 3)
    assert torch.equal(correction_from_tensors(drift.tensors())(new), drift(new))
    assert drift(new.half()).dtype == torch.float16
    assert torch.allclose(drift(new).norm(dim=-1), torch.ones(3, 2), atol=1e-6)


def test_no_drift_keeps_nothing_and_an_unknown_one_is_refused() -> None:
    assert fit_correction("none", unit(2, 1, 3), unit(2, 1, 3), torch.arange(2)) is None
    assert correction_from_tensors({}) is None
    with pytest.raises(ConfigError, match="DRIFT"):
        fit_correction("meen", unit(2, 1, 3), unit(2, 1, 3), torch.arange(2))
