"""docs/TRUST.md names tests for its findings: they are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "TRUST.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_every_finding_has_a_test_that_is_there() -> None:
    rows = PAGE.split("| finding | test |")[1].strip().splitlines()[1:]
    assert len(rows) > 30
    for row in rows:
        assert NAMED.search(row.rsplit(" | ", 1)[1]), f"no test: {row}"


def test_every_test_that_the_page_names_is_there() -> None:
    for file, name in NAMED.findall(PAGE):
        text = (ROOT / file).read_text(encoding="utf-8") if (ROOT / file).is_file() else ""
        assert f"def {name or 'test_'}" in text, f"{file}::{name}"
