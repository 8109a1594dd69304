"""What follows a table can be copied line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from loreal_plugin.cli.next_steps import after_run, next_line


def test_one_step_stands_beside_the_word_and_several_have_lines_of_their_own() -> None:
    assert next_line() == ""
    assert next_line("loreal report output") == "Next: loreal report output"
    assert next_line("loreal verify a", "loreal table a").splitlines() == [
        "Next:",
        "  loreal verify a",
        "  loreal table a",
    ]


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
