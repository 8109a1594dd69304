"""The time left for a run: from measured seconds, in words, and on the console's lines."""

from __future__ import annotations

import io

import pytest

from loreal_plugin.runs.logs import StageConsole
from loreal_plugin.time_left import TimeLeft, about


class Clock:
    """A clock that is set by hand."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def line(epoch: int, batch: int) -> str:
    """Return what Dassl prints of a batch, of 5 epochs of 10 batches."""
    return f"epoch [{epoch}/5] batch [{batch}/10] time 0.1 (0.1) data 0 (0) loss 1.25 (1.3) lr 1"


def test_the_rest_of_a_part_goes_by_its_own_pace_and_later_parts_by_their_work() -> None:
    clock = Clock()
    left = TimeLeft({"alpha": 100.0, "beta": 20.0, "test": 10.0}, now=clock)
    left.begin("alpha", 1, 3)
    assert left.left() is None and left.words() == ""
    clock.seconds = 20.0  # until the first batch: it comes once, and tells no pace
    left.line(line(1, 1))
    assert left.left() is None
    clock.seconds = 50.0
    said = left.line(line(3, 5))  # 48 % of alpha in 30 s
    assert left.left() == pytest.approx((50 + 30) * 30 / 48)
    assert said == "stage 1/3, epoch 3/5, batch 5/10, loss 1.25; about 50 s left for the whole run"


def test_what_goes_on_counts_from_where_it_went_on() -> None:
    clock = Clock()
    left = TimeLeft({"alpha": 100.0}, now=clock)
    left.begin("alpha", 1, 1)
    left.line(line(4, 1))
    clock.seconds = 9.0
    left.line(line(4, 10))  # 18 % in 9 s, one fifth is left
    assert left.left() == pytest.approx(10.0)


def test_a_part_begins_with_the_pace_of_those_before_and_goes_over_to_its_own() -> None:
    clock = Clock()
    left = TimeLeft({"alpha": 100.0, "beta": 100.0}, now=clock)
    left.begin("alpha", 1, 2)
    clock.seconds = 100.0
    left.end(ran=True)  # a second a unit
    left.begin("beta", 2, 2)
    clock.seconds = 130.0
    left.line(line(1, 1))
    assert left.left() == pytest.approx(98.0)
    clock.seconds = 154.0  # 12 % in 24 s: twice as slow; half of the way to its own pace
    left.line(line(1, 7))
    assert left.left() == pytest.approx((0.48 * 200 + 0.52 * 100) * 0.86)
    clock.seconds = 226.0
    left.line(line(3, 5))
    assert left.left() == pytest.approx(200 * 0.5)


def test_what_was_complete_takes_no_time_and_tells_none() -> None:
    clock = Clock()
    left = TimeLeft({"alpha": 100.0, "beta": 50.0}, now=clock)
    left.begin("alpha", 1, 2)
    clock.seconds = 3.0  # reading its record
    left.end(ran=False)
    assert left.left() is None
    left.begin("beta", 2, 2)
    left.line(line(5, 1))
    clock.seconds = 13.0
    left.line(line(5, 10))
    assert left.left() == pytest.approx(0.0)
    left.end(ran=True)
    assert left.left() == pytest.approx(0.0)


def test_other_lines_stay_as_they_are() -> None:
    left = TimeLeft({"alpha": 1.0})
    left.begin("alpha", 1, 1)
    assert left.line("Warning: look") == "Warning: look"
    console = io.StringIO()
    StageConsole(console, tell=left.line).write(f"{line(1, 1)}\nWarning: look\n")
    shown = "  stage 1/1, epoch 1/5, batch 1/10, loss 1.25\n  Warning: look\n"
    assert console.getvalue() == shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(2, "about 5 s"), (52, "about 50 s"), (100, "about 2 min"), (7200, "about 2.0 h")],
)
def test_times_are_as_exact_as_they_deserve(seconds: float, words: str) -> None:
    assert about(seconds) == words
