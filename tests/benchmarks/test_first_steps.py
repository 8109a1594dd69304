"""The walk of the first steps: what runs, what is kept of it, and that the page is the script's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import first_steps
from benchmarks.first_steps import PAGE, STEPS, Done, Step, page, shortened, told, typed, walk


def test_steps_run_one_after_another_and_a_failure_ends_the_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOREAL_CACHE", "/elsewhere")
    monkeypatch.setenv("OUT", "/elsewhere")
    steps = (
        Step("a", typed("mkdir loreal && echo '  loreal predict RUN PICTURES...    # name'")),
        Step("b", told("loreal predict", "x.jpg")),
        Step("c", typed('echo "$HOME ${LOREAL_CACHE:-none} ${OUT:-none} $(basename "$PWD")"')),
    )
    monkeypatch.setattr(first_steps, "STEPS", (steps[0], steps[2]))
    done = walk(tmp_path, tmp_path, say=lambda _line: None)
    assert done[1].output == f"{tmp_path} none none loreal\n"
    assert steps[1].command([done[0].output]) == "loreal predict RUN x.jpg"
    monkeypatch.setattr(first_steps, "STEPS", (Step("d", typed("false | cat; exit 3")), *steps))
    with pytest.raises(SystemExit, match="exit code 3"):
        walk(tmp_path, tmp_path, say=lambda _line: None)
    with pytest.raises(SystemExit, match="no step printed"):
        told("loreal export")([done[0].output])


def test_an_output_is_shortened_to_its_end() -> None:
    assert shortened("a\nb\r 50 %\rdone\n", 5) == "a\ndone"
    assert shortened("a\nb\nc\n", 2) == "... (1 lines)\nb\nc"
    assert shortened("x" * 400, 1) == "x" * 196 + " ..."


def test_the_page_has_the_commands_the_outputs_and_the_times() -> None:
    # with the folder's own name the line would be too long, and cut inside that name
    said = "x" * 190 + " /over/there/run"
    done = Done(Step("Clone", typed("x"), "Why."), "x\nls /over/there", said, 1.25)
    text = page([done], "Machine.", Path("/over/there"))
    shown = "x" * 190 + " ~/run"
    block = f"```text\n$ x\n$ ls {first_steps.HOME}\n{shown}\n```\n"
    assert f"## 1. Clone (1.2 s)\n\nWhy.\n\n{block}" in text and "/over" not in text
    assert "| together | 1.2 |" in text


def test_the_page_that_is_kept_has_every_step_and_no_path_of_a_machine() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^## \d+\. (.+) \(", text, re.MULTILINE) == [step.title for step in STEPS]
    assert not re.search(r"/(tmp|root|work|opt)\b", text)
