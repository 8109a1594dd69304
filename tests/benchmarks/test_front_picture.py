"""The rule that chooses the pictures of the README's picture, and what is drawn of them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.front_picture import Scores, Shown, draw, scores_of


def test_the_first_picture_of_each_class_that_one_model_gets_right() -> None:
    labels = [0, 0, 0, 1, 1, 2]
    plain = [True, False, True, True, False, False]
    adapted = [True, False, False, False, True, True]
    scores = Scores([True] * 6, plain, adapted)
    assert scores.first_apart(labels, 3) == [2, 3, 5]
    assert scores.alone() == (2, 2)
    with pytest.raises(ValueError):  # no such picture: nothing is chosen instead
        Scores([True] * 6, plain, plain).first_apart(labels, 3)


def test_scores_are_read_from_the_record() -> None:
    names = {"native": "e0", "native_at_phi": "80", "phi": "00", "adapted": "60"}
    rows = [{"name": name, "new": {"hits": hits, "total": 4}} for name, hits in names.items()]
    scores = scores_of({"rows": rows})
    assert scores.percent() == [75.0, 25.0, 50.0]
    assert scores.plain == [True, False, False, False]
    assert scores.adapted == [False, True, True, False]


def test_small_pictures_keep_their_pixels() -> None:
    rng = np.random.default_rng(0)
    big, small = (rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in (224, 96))
    shown = [Shown("barrel", (big, small), ("barrel", "bottle", "barrel"))] * 5
    sheet = np.asarray(draw(shown, ("a", "b", "c", "d")))
    assert any(
        np.array_equal(sheet[y : y + 288 : 3, 14 : 14 + 288 : 3], small)
        for y in range(len(sheet) - 288)
    )
