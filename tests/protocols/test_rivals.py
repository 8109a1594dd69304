"""The rivals: corrections of low-resolution embeddings against closed forms and naive versions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from loreal_plugin.protocols.rivals import (
    Embeddings,
    accuracy,
    choose_ridge_penalty,
    embed,
    fit_mean_shift,
    fit_ridge,
    score_rivals,
    upsampled,
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
        rows = torch.cat([x - x.mean(0), penalty**0.5 * torch.eye(5, dtype=torch.float64)])
        goal = torch.cat([y - y.mean(0), torch.zeros(5, 5, dtype=torch.float64)])
        w = torch.linalg.lstsq(rows, goal).solution
        naive = F.normalize((new[:, feature].double() - x.mean(0)) @ w + y.mean(0), dim=-1)
        torch.testing.assert_close(got[:, feature].double(), naive, atol=1e-6, rtol=1e-5)


def test_ridge_recovers_an_exact_linear_map() -> None:
    low = unit(40, 1, 4)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(3))).Q
    new = unit(5, 1, 4, seed=4)
    torch.testing.assert_close(fit_ridge(low, low @ turn, 1e-9)(new), new @ turn, atol=1e-5, rtol=1e-4)


def test_penalty_is_the_one_that_carries_over_to_held_out_classes() -> None:
    labels = torch.arange(40) % 4
    low, noise = unit(40, 1, 8), unit(40, 1, 8, seed=1)
    assert choose_ridge_penalty(low, low, labels, (1e-6, 1e3)) == 1e-6, "a true map wants no penalty"
    assert choose_ridge_penalty(low, noise, labels, (1e-6, 1e3)) == 1e3, "noise wants the mean alone"
    one_class = torch.zeros(40, dtype=torch.long)
    assert choose_ridge_penalty(low, low, one_class, (1.0, 2.0, 3.0)) == 2.0, "nothing to hold out"


def test_upsampling_gives_the_encoder_the_native_size() -> None:
    seen = []
    images = torch.rand(2, 3, 32, 32)
    upsampled(lambda x: seen.append(x) or x, 64)(images)
    assert seen[0].shape == (2, 3, 64, 64)
    torch.testing.assert_close(seen[0].mean(), images.mean(), atol=1e-2, rtol=0)


def test_embedding_keeps_order_and_counts_encoder_time() -> None:
    batches = [{"img": torch.full((2, 3, 4, 4), float(i)), "label": torch.tensor([i, i])} for i in range(3)]
    found = embed(lambda x: x.mean((1, 2, 3))[:, None, None], batches)
    assert found.features.flatten().tolist() == [0, 0, 1, 1, 2, 2] == found.labels.tolist()
    assert found.seconds > 0 and found.milliseconds_per_image == pytest.approx(1000 * found.seconds / 6)


def test_scores_name_every_correction_and_use_the_right_pictures() -> None:
    labels = torch.arange(8) % 4
    right = F.one_hot(labels, 4).float()[:, None]
    wrong = right.roll(1, dims=-1)
    train = {"low": Embeddings(wrong, labels, 1.0), "standard": Embeddings(right, labels, 1.0)}
    test = {s: {"low": Embeddings(wrong, labels, 1.0), "upsampled": Embeddings(right, labels, 3.0)}
            for s in ("base", "new")}  # fmt: skip
    rows = score_rivals("host", train=train, test=test, classify=lambda subset, f: f[:, 0])
    names = [row.name for row in rows]
    assert [name.split(" (")[0] for name in names] == ["host", "host, mean shift", "host, ridge", "host, up-sampled"]
    plain, _, ridge, enlarged = rows
    assert (plain.base, plain.new, plain.hm) == (0.0, 0.0, 0.0)
    assert ridge.base == 100.0, "the map back is linear"
    assert (enlarged.base, enlarged.hm, enlarged.n_new) == (100.0, 100.0, 8)
    assert enlarged.milliseconds == pytest.approx(375, rel=0.05)


def test_accuracy_is_in_percent() -> None:
    assert accuracy(torch.eye(4), torch.tensor([0, 1, 2, 0])) == 75.0
