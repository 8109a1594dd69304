"""The README says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loreal_plugin.cli.main import COMMANDS, build_parser
from loreal_plugin.cli.options import options_table
from loreal_plugin.files import replace_between

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPTIONS = (ROOT / "docs" / "OPTIONS.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("results/*.md")])


def test_options_table_is_the_generated_one() -> None:
    assert replace_between(OPTIONS, "options", options_table()) == OPTIONS, (
        "run: loreal options --write docs/OPTIONS.md"
    )


def test_the_readme_is_a_front_door() -> None:
    assert len(README.splitlines()) <= 120


def test_the_readme_has_its_picture() -> None:
    picture = ROOT / "docs" / "pictures" / "front.png"
    assert "](docs/pictures/front.png)" in README
    assert 0 < picture.stat().st_size < 300_000


def links_of(page: Path) -> list[str]:
    """Return the files that a page links to, as it writes them."""
    found = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    return [link for link in found if "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_linked_files_exist(page: Path) -> None:
    assert [link for link in links_of(page) if not (page.parent / link).is_file()] == []


def test_index_of_the_documentation_has_every_page() -> None:
    for folder in ("docs", "results"):
        index = ROOT / folder / "README.md"
        pages = {page.name for page in index.parent.glob("*.md")} - {"README.md"}
        assert pages - set(links_of(index)) == set()


def test_ci_runs_the_readmes_test_command() -> None:
    assert "bash scripts/test.sh" in README
    assert "bash scripts/test.sh" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser(command).parse_args([command, "--help"])
    assert ended.value.code == 0 and f"loreal {command}" in capsys.readouterr().out
