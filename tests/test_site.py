"""The documentation site has every page, and every link in it leads somewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("results/*.md")])
MOVED = {"README.md": "index.md", "docs/README.md": "pages.md"}


def nav_pages(entry: Any) -> list[str]:
    """Return the pages of a part of the navigation."""
    if isinstance(entry, str):
        return [entry]
    inside = entry.values() if isinstance(entry, dict) else entry
    return [page for one in inside for page in nav_pages(one)]


class Links(HTMLParser):
    """Collects what a page links to, and its anchors."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        self.links += [facts[key] or "" for key in ("href", "src") if key in facts]


def test_every_page_is_in_the_navigation_once():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    names = [path.relative_to(ROOT).as_posix() for path in PAGES]
    wanted = [MOVED.get(name, name.removeprefix("docs/")) for name in names]
    assert sorted(nav_pages(config["nav"])) == sorted(wanted)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the built site."""
    pytest.importorskip(
        "material", reason="mkdocs-material is not installed: pip install '.[docs]'"
    )
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_link_of_the_site_leads_somewhere(site: Path):
    pages = list(site.rglob("*.html"))
    assert len(pages) == len(PAGES) + 1  # and 404.html
    broken = {
        (page.name, link)
        for page in pages
        for link in Links(page).links
        if not re.match(r"\w+:|#|/", link)
        and not (page.parent / link.partition("#")[0].partition("?")[0]).exists()
    }
    assert broken == set()


def test_the_site_is_searched_and_fetches_nothing(site: Path):
    found = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert {"index.html", "API.html", "results/RESULTS.html"} <= {
        entry["location"] for entry in found["docs"]
    }
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'<(?:script|img)[^>]+src="https?:', text)
        assert not re.search(r'<link[^>]+rel="stylesheet"[^>]+href="https?:', text)
