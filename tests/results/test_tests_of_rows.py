"""Which evaluation belongs to a run's row, where several runs asked for the same test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_runs import facts

from loreal_plugin.results.lookup import Lookup

ASKED = facts("maple", 96, 1)


def evaluation(row: str, hits: str, **more: Any) -> dict[str, Any]:
    score = {"accuracy": 50.0, "total": 8, "hits": hits, "mistaken": "3"}
    return ASKED | {"kind": "evaluation", "row": row, "subset": "new", "score": score} | more


def found(tested: dict[str, Any], asked: dict[str, Any], row: str, hits: str) -> bool:
    lookup = Lookup(Path(), {Path("test"): tested})
    return bool(lookup.test(asked, row, "new", {"hits": hits, "mistaken": "3"}))


@pytest.mark.parametrize(
    ("asked", "row", "hits", "wanted"),
    [
        (ASKED, "phi", "0f", True),  # the run that tested it
        (ASKED | {"overrides": [["ADAPT_VIEWS", "8"]]}, "phi", "f0", True),  # the same answers
        (ASKED | {"overrides": [["ADAPT_VIEWS", "8"]]}, "phi", "0f", False),
        (ASKED | {"phi": 144}, "phi", "f0", False),  # another student
        (ASKED | {"phi": 144}, "native", "f0", True),  # reads large pictures at every phi
        (ASKED | {"seed": 2}, "native", "f0", False),
    ],
)
def test_a_row_is_found_by_its_run_or_by_its_answers(
    asked: dict[str, Any], row: str, hits: str, wanted: bool
) -> None:
    assert found(evaluation(row, "f0"), asked, row, hits) is wanted


def test_answers_that_were_not_written_down_tell_nothing() -> None:
    tested = evaluation("native", "")
    assert not found(tested, ASKED | {"phi": 144}, "native", "")
