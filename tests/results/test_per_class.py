"""Recall and confusions are counted as one would by hand."""

from __future__ import annotations

import pytest
from made_runs import facts

from loreal_plugin.errors import LorealError
from loreal_plugin.results.answers import pack_labels, score_facts
from loreal_plugin.results.class_tables import class_text, recall_lines
from loreal_plugin.results.per_class import Measured, decode_answers
from loreal_plugin.results.run import run_of

HALVES = ("base", "new")
NAMES = ["cat", "dog", "fox"]


def test_counts() -> None:
    found = Measured(NAMES, [0, 0, 0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 1, 1, 1, 2])
    assert (found.correct, found.accuracy) == (4, 50.0)
    assert found.recalls() == {0: (1, 4), 1: (2, 2), 2: (1, 2)}
    assert found.confusions() == [(0, 1, 2), (0, 2, 1), (2, 1, 1)]
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


def test_predicted_classes_survive_the_record() -> None:
    labels, called = [2, 0, 1, 1, 0, 2, 0, 0, 1], [2, 1, 1, 0, 0, 0, 0, 2, 1]
    score = score_facts(labels, called)
    found = decode_answers(NAMES, pack_labels(labels), score["hits"], score["mistaken"])
    assert (found.labels, found.predicted) == (labels, called)
    for mistaken in ("", "1 0 0", "1 0 0 2 2", "1 0 0 3"):
        with pytest.raises(ValueError, match="do not fit"):
            decode_answers(NAMES, pack_labels(labels), score["hits"], mistaken)


def test_recalls_stand_side_by_side_and_seeds_are_averaged() -> None:
    host = [Measured(NAMES, [0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2])]
    ours = [Measured(NAMES, [0, 0, 1, 1, 2, 2], called) for called in ([0, 1, 1, 1, 0, 0], [0] * 6)]
    table, rest = recall_lines([host, ours], 20)
    assert table == [("fox", [100, 0]), ("dog", [100, 50]), ("cat", [100, 75])] and rest == 0


def test_two_classes_of_one_name_keep_their_own_recalls() -> None:
    found = Measured(
        ["cat", "dog", "cat"], [0] * 6 + [1] * 2 + [2] * 2, [1] * 4 + [0] * 2 + [1] * 4
    )
    assert found.recalls() == {0: (2, 6), 1: (2, 2), 2: (0, 2)}
    assert found.frequent() == [("cat (label 0)", "dog", 4, 6), ("cat (label 2)", "dog", 2, 2)]
    assert [one["pictures"] for one in found.facts()["recall"].values()] == [6, 2, 2]
    names = [name for name, _ in recall_lines([[found]], 20)[0]]
    assert names == ["cat (label 2)", "cat (label 0)", "dog"]


def test_a_records_table_by_class() -> None:
    labels = [0, 0, 0, 1, 1, 2]
    rows = {"phi": [0, 1, 1, 1, 1, 2], "loreal": [0, 0, 1, 1, 1, 1]}
    scores = {row: {half: score_facts(labels, c) for half in HALVES} for row, c in rows.items()}
    record = facts("maple", 96, 1) | {
        "rows": [{"name": n, "label": n.upper(), "hm": 1.0, **s} for n, s in scores.items()],
        "test_sets": {
            half: {"classnames": NAMES, "labels": pack_labels(labels)} for half in HALVES
        },
    }
    text = class_text(run_of(record))
    lines = [line.split() for line in text.splitlines()]
    assert ["class", "96", "LOREAL"] in lines and ["cat", "33", "67"] in lines
    assert text.index("fox") < text.index("cat") < text.index("dog")
    assert "is called" not in text, "single confusions say little"
    for score in (row[half] for row in record["rows"] for half in HALVES):
        score["mistaken"] = "7"
    with pytest.raises(LorealError, match="--test-only tests again"):
        class_text(run_of(record))
    del record["test_sets"]
    with pytest.raises(LorealError, match="--test-only tests again"):
        class_text(run_of(record))
