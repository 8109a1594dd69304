"""The README says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loreal_plugin.cli.main import COMMANDS, build_parser
from loreal_plugin.files import replace_between
from loreal_plugin.options import options_table

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_options_table_is_the_generated_one() -> None:
    assert replace_between(README, "options", options_table()) == README, (
        "run: loreal options --write README.md"
    )


def test_linked_files_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links and [link for link in links if not (ROOT / link).is_file()] == []


def test_ci_runs_the_readmes_test_command() -> None:
    assert "bash scripts/test.sh" in README
    assert "bash scripts/test.sh" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser(command).parse_args([command, "--help"])
    assert ended.value.code == 0 and f"loreal {command}" in capsys.readouterr().out
