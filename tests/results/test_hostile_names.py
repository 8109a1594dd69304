"""A name cannot become HTML, a link, a row of a table or a line of its own in a page."""

from __future__ import annotations

import json

import pytest

from loreal_plugin.files import read_json, write_json
from loreal_plugin.results.html import to_html
from loreal_plugin.results.layout import Cell, Table
from loreal_plugin.results.markdown import to_markdown
from loreal_plugin.results.report import Report, Section

NAMES = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a|b|c",
    "x\n\n# title\n",
    "[press](javascript:alert(1))",
    '"></td><h1>',
    "{{ 7 * 7 }}",
    "$(touch made) `touch made`",
    "../../etc",
    '"}, "key": "x',
]


def report(name: str) -> Report:
    table = Table(name, (name, "HM"), (((Cell(name)), Cell("1")),), words=1, notes=(name,))
    return Report(name, (Section(name, (f"- about {name}", name), (table,)),))


@pytest.mark.parametrize("name", NAMES)
def test_pages_show_a_name_and_do_nothing_with_it(name, tmp_path):
    plain, hostile = to_markdown(report("name")), to_markdown(report(name))
    assert "<" not in hostile and "](" not in hostile
    assert len(hostile.splitlines()) == len(plain.splitlines())
    for one, other in zip(plain.splitlines(), hostile.splitlines(), strict=True):
        if one.startswith("|"):
            assert one.count("|") == other.count("|") - other.count("\\|")
    page = to_html(report(name)).replace("<code>", "").replace("</code>", "")
    assert page.count("<") == to_html(report("name")).count("<") and "49" not in page
    write_json(tmp_path / "x.json", {"name": name})
    assert read_json(tmp_path / "x.json") == {"name": name}
    assert len(json.loads((tmp_path / "x.json").read_text())) == 1
