"""CITATION.cff and the README cite the same paper."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def test_the_citation_file_and_the_readme_agree() -> None:
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text())["preferred-citation"]
    readme = (ROOT / "README.md").read_text()
    authors = [f"{one['family-names']}, {one['given-names']}" for one in paper["authors"]]
    assert len(authors) == 6 and " and ".join(authors) in readme
    assert paper["title"].removeprefix("LOREAL") in readme and paper["url"] in readme
    assert f"{paper['start']}--{paper['end']}" in readme and str(paper["year"]) in readme
