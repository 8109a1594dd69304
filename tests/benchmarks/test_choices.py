"""The plot of choices: shares of time are those of one record, budgets take what fits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from made_runs import timed, write_run

from benchmarks import choices
from benchmarks.choices import Choice, best_within, table
from loreal_plugin.errors import LorealError
from loreal_plugin.results.markdown import table_markdown


def test_time_is_a_share_of_the_same_record(tmp_path: Path) -> None:
    for seed, factor in ((1, 1.0), (2, 3.0)):  # the second machine is slower
        timed(write_run(tmp_path, method="coop", seed=seed, gain=0.1), factor)
    found = {c.kind + str(c.side): c for c in choices.choices(tmp_path, "coop")}
    assert {name: round(c.share, 6) for name, c in found.items()} == {
        "phi224": 100,
        "native_at_phi96": 25,
        "phi96": 25,
        "loreal96": 37.5,
    }
    assert all(c.seeds == 2 for c in found.values())
    assert found["loreal96"].accuracy > found["phi96"].accuracy


def test_the_host_at_the_native_size_is_one_choice(tmp_path: Path) -> None:
    for seed in (1, 2):
        timed(write_run(tmp_path, method="coop", seed=seed))
    timed(write_run(tmp_path, method="coop", phi=144))
    native = [c for c in choices.choices(tmp_path, "coop") if c.side == 224]
    assert [c.seeds for c in native] == [2]


def test_runs_without_times_are_nothing_to_choose_from(tmp_path: Path) -> None:
    write_run(tmp_path, method="coop")
    with pytest.raises(LorealError, match="no timed run of coop"):
        choices.choices(tmp_path, "coop")


def test_a_budget_takes_the_most_accurate_that_fits() -> None:
    fast, slow = (
        Choice("phi", name, 96, acc, share, 1)
        for name, acc, share in (("fast", 60.0, 25.0), ("slow", 70.0, 45.0))
    )
    assert best_within([fast, slow], 96, 24) is None
    assert best_within([fast, slow], 96, 30) is fast
    assert best_within([fast, slow], 96, 45) is slow
    assert best_within([fast, slow], 144, 100) is None
    text = table_markdown(table([fast, slow]))
    assert "| 30 % | fast: **60.0** |" in text and "| 45 % | slow: **70.0** |" in text


def test_a_smaller_picture_has_fewer_bytes() -> None:
    assert 1 < choices.kilobytes(32) < choices.kilobytes(224) < 40


@pytest.mark.parametrize(
    ("row", "overrides", "kind", "words"),
    [
        ("adapted", {"ADAPT_VIEWS": 128}, "views", "128 views"),
        ("adapted", {"ADAPT_ENLARGE": 112}, "enlarged", "enlarged to 112 inside"),
        (
            "adapted",
            {"ADAPT_ENLARGE": 112, "ADAPT_VIEWS": 64},
            "enlarged",
            "enlarged to 112 inside, 64 views",
        ),
        ("adapted", {"ADAPT_VIEWS": 64, "PRESET": "paper"}, "", ""),
        ("loreal", {"ADAPT_VIEWS": 64}, "", ""),
    ],
)
def test_an_adaptation_with_other_views_is_a_choice(
    row: str, overrides: dict[str, object], kind: str, words: str
) -> None:
    asked = tuple(f"loreal TRAINER.LOREAL.{key} {value}" for key, value in overrides.items())
    group = SimpleNamespace(row=row, setting=SimpleNamespace(overrides=asked))
    assert choices._adaptation(group) == (kind, words)  # type: ignore[arg-type]
