"""Recall and confusions are counted as one would by hand."""

from __future__ import annotations

import pytest

from loreal_plugin.use.measure import Measured

NAMES = ["cat", "dog", "fox"]


def test_counts() -> None:
    found = Measured(NAMES, [0, 0, 0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 1, 1, 1, 2])
    assert (found.correct, found.accuracy) == (4, 50.0)
    assert found.recalls() == {"cat": (1, 4), "dog": (2, 2), "fox": (1, 2)}
    assert found.confusions() == [("cat", "dog", 2), ("cat", "fox", 1), ("fox", "dog", 1)]
    # Wilson's interval by its formula, z = 1.96
    z, p, n = 1.959964, 0.5, 8
    middle, half = p + z * z / (2 * n), z * ((p * (1 - p) + z * z / (4 * n)) / n) ** 0.5
    low, high = ((middle + side * half) / (1 + z * z / n) for side in (-1, 1))
    assert found.interval == pytest.approx((100 * low, 100 * high), abs=1e-3)
    facts = found.facts()
    assert facts["recall"]["cat"] == {"right": 1, "pictures": 4, "percent": 25.0}
    assert facts["confusions"][0] == {"class": "cat", "called": "dog", "pictures": 2}


def test_the_worst_class_comes_first_and_single_confusions_are_left_out() -> None:
    text = Measured(NAMES, [0, 0, 0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 1, 1, 1, 2]).text()
    table = text.split("confusions")[0]
    assert table.index("cat") < table.index("fox") < table.index("dog")
    assert "cat is called dog: 2 of 4" in text and "cat is called fox" not in text
    assert "guessing gives 33.3 %" in text
    assert "confusions" not in Measured(NAMES, [0, 1, 2], [0, 1, 2]).text()


def test_of_many_classes_the_worst_are_shown() -> None:
    names = [f"class {i}" for i in range(50)]
    labels = [i for i in range(50) for _ in range(2)]
    called = [label if label < 40 else 0 for label in labels]
    text = Measured(names, labels, called).text()
    assert "class 49 " in text and "... and 30 classes with a higher recall" in text
