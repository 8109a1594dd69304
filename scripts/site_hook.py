"""Lets mkdocs build the site from the pages as they lie in the repository.

`docs/` is the site's root; README.md becomes its first page, and `results/`, CONTRIBUTING.md and
CHANGELOG.md are added. Links between pages are written for the repository; here they are turned
into the site's. Other files that a page links to are copied.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
ADDED = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/*.md")
# what has another place in the site than below docs/ or in the repository
MOVED = {"README.md": "index.md", "docs/README.md": "pages.md"}
LINK = re.compile(r"\[([^][]*)\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")


def site_path(path: str) -> str:
    """Return where a file of the repository lies in the site."""
    return MOVED.get(path, path.removeprefix("docs/"))


def title_of(page: Path) -> str:
    """Return a page's first heading, without what stands in parentheses at its end."""
    heading = re.search(r"^# (.+?)(?: \(.*\))?$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return heading[1] if heading else page.stem


def linked_files(page: Path) -> set[str]:
    """Return the files of the repository that a page links to, by their paths in it."""
    targets = (link[2] for link in LINK.finditer(page.read_text(encoding="utf-8")))
    found = {os.path.relpath(page.parent / target, ROOT) for target in targets}
    return {path for path in found if (ROOT / path).is_file()}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages outside docs/ and what pages link to."""
    files.remove(files.get_file_from_path("README.md"))
    pages = {ROOT / "docs" / "README.md", *(p for name in ADDED for p in ROOT.glob(name))}
    wanted = {path.relative_to(ROOT).as_posix() for path in pages}
    for page in [*pages, *ROOT.glob("docs/*.md")]:
        wanted |= linked_files(page)
    for path in sorted(wanted):
        place = site_path(path)
        if files.get_file_from_path(place) is None:
            files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_rest: Any) -> str:
    """Turn a page's links between files of the repository into those of the site."""
    source = Path(page.file.abs_src_path)
    here = Path(page.file.src_uri).parent

    def moved(link: re.Match[str]) -> str:
        path = os.path.relpath(source.parent / link[2], ROOT)
        if not (ROOT / path).is_file():
            return link[0]
        # a file's name says less on a site than the page's title
        text = title_of(ROOT / path) if link[1].endswith(".md") else link[1]
        return f"[{text}]({os.path.relpath(site_path(path), here)}{link[3] or ''})"

    return LINK.sub(moved, markdown)
