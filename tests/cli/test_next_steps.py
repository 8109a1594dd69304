"""What follows a table can be copied line by line."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from loreal_plugin.cli.main import parse
from loreal_plugin.cli.next_steps import after_run, next_line
from loreal_plugin.cli.run_options import same_run


def test_one_step_stands_beside_the_word_and_several_have_lines_of_their_own() -> None:
    assert next_line() == ""
    assert next_line("loreal report output") == "Next: loreal report output"
    assert next_line("loreal verify a", "loreal table a").splitlines() == [
        "Next:",
        "  loreal verify a",
        "  loreal table a",
    ]


def test_the_same_run_is_named_with_all_that_chose_it() -> None:
    words = "calibrate coop 96 --shots 8 --target 99 --out".split()
    args = parse([*words, "my runs", "--", "TRAINER.LOREAL.TANGENT_RANK", "16"])
    assert shlex.split(same_run(args, "base2new", "KEY", "auto")) == [
        *"loreal base2new coop 96 demo 1 --out".split(),
        "my runs",
        *"--shots 8 -- TRAINER.LOREAL.TANGENT_RANK 16 KEY auto".split(),
    ]
    again = same_run(args, "base2new", "TRAINER.LOREAL.TANGENT_RANK", "8")
    assert again.endswith("--shots 8 -- TRAINER.LOREAL.TANGENT_RANK 8")


def test_paths_are_typed_from_here_and_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = after_run(tmp_path / "my run", tmp_path / "output").splitlines()
    assert lines[1:] == [
        "  loreal predict 'my run' PICTURES",
        "  loreal explain PICTURES --run 'my run'",
        "  loreal report output",
    ]
