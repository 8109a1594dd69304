"""Nearest words, leaving slots out, and drift numbers against slow versions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from loreal_plugin.errors import DataError
from loreal_plugin.explain.drift import Embedded, drift_numbers, in_the_plane
from loreal_plugin.explain.slot_worth import Vocabulary, leave_one_out, moves, whole_words


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_only_whole_words_of_three_letters_count():
    decoder = {
        0: "red</w>",
        1: "re",
        2: "d</w>",
        3: "blue</w>",
        4: "42</w>",
        5: "naïve</w>",
        6: "is</w>",
        7: "sea</w>",
    }
    assert whole_words(decoder, {7}) == {0: "red", 3: "blue"}


def test_nearest_words_are_those_with_the_highest_cosine_whatever_the_length():
    words = tuple(f"word{i}" for i in range(30))
    vocabulary = Vocabulary(words, randn(30, 8))
    contents = torch.stack(
        [7.0 * vocabulary.embeddings[4] + 0.01 * randn(8, seed=1), randn(8, seed=2)]
    )
    found = vocabulary.nearest(contents, 3)
    assert found[0][0][0] == "word4" and found[0][0][1] > 0.99
    for content, row in zip(contents, found, strict=True):
        slow = sorted(
            (
                (float(F.cosine_similarity(content, e, dim=0)), w)
                for e, w in zip(vocabulary.embeddings, words, strict=True)
            ),
            reverse=True,
        )[:3]
        assert [word for word, _ in row] == [word for _, word in slow]
        assert [cosine for _, cosine in row] == pytest.approx(
            [cosine for cosine, _ in slow], abs=1e-6
        )


def test_leaving_one_out_replaces_that_content_alone():
    weight, contents, stand_in = randn(3, 6, 5, seed=1), randn(1, 3, 6), randn(3, 6, seed=2)

    def logits(given: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bkt,ktc->bc", given.tanh(), weight)

    found = leave_one_out(logits, contents, stand_in)
    assert found.shape == (4, 5)
    torch.testing.assert_close(found[0], logits(contents)[0])
    for k in range(3):
        rest = sum(contents[0, j].tanh() @ weight[j] for j in range(3) if j != k)
        torch.testing.assert_close(found[1 + k], rest + stand_in[k].tanh() @ weight[k])


def test_moves_are_distances_in_lengths_of_the_mean():
    mean = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert moves(mean, mean).tolist() == [0, 0]
    assert moves(mean + torch.tensor([[0.0, 5.0], [1.0, 0.0]]), mean).tolist() == pytest.approx(
        [1.0, 0.5]
    )


def test_drift_numbers_equal_the_loops():
    native, low = F.normalize(randn(7, 4), dim=-1), F.normalize(randn(7, 4, seed=1), dim=-1)
    labels = torch.arange(7) % 3
    found = drift_numbers(native, low, labels)
    cosines = [float(a @ b) for a, b in zip(native, low, strict=True)]
    change = [b - a for a, b in zip(native, low, strict=True)]
    nearest = [min(range(7), key=lambda j: float((low[i] - native[j]).norm())) for i in range(7)]
    drift = float((sum(change) / 7).norm())
    assert found == pytest.approx(
        {
            "n": 7,
            "cosine_mean": sum(cosines) / 7,
            "cosine_std": (sum((c - sum(cosines) / 7) ** 2 for c in cosines) / 7) ** 0.5,
            "drift_norm": drift,
            "change_norm": sum(float(c.norm()) for c in change) / 7,
            "common_share": drift**2 / (sum(float(c @ c) for c in change) / 7),
            "finds_itself": sum(nearest[i] == i for i in range(7)) / 7,
            "finds_class": sum(int(labels[nearest[i]] == labels[i]) for i in range(7)) / 7,
        },
        abs=1e-5,
    )


def test_a_pure_shift_is_common_to_all_and_no_change_is_none():
    native = randn(6, 4)
    shifted = drift_numbers(native, native + torch.tensor([0.3, 0.0, 0.0, 0.4]), torch.arange(6))
    assert [shifted["common_share"], shifted["drift_norm"]] == pytest.approx([1, 0.5], abs=1e-5)
    same = drift_numbers(native, native, torch.arange(6))
    assert (same["common_share"], same["drift_norm"], same["finds_itself"]) == (0, 0, 1)


@pytest.mark.parametrize("kind", ["pca", "tsne"])
def test_one_map_holds_all_embeddings(kind: str):
    native = F.normalize(randn(9, 5), dim=-1)
    places, low = in_the_plane(
        Embedded(native, {"same": native, "other": -native}, torch.arange(9)), kind
    )
    assert places.shape == low["same"].shape == low["other"].shape == (9, 2)
    assert not torch.allclose(places, low["other"], atol=1e-2)
    if (
        kind == "pca"
    ):  # the plane keeps the order of distances that lie in it: equal points stay equal
        torch.testing.assert_close(places, low["same"])


def test_a_map_of_two_pictures_is_refused():
    two = torch.eye(2)
    with pytest.raises(DataError, match="at least three pictures, there are 2"):
        in_the_plane(Embedded(two, {"x": two}, torch.arange(2)), "pca")
