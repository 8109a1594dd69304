"""Writes a report's files, each whole or not at all; both pages are made before the first is
written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loreal_plugin.files import write_bytes, write_text
from loreal_plugin.results.group import Refusal
from loreal_plugin.results.html import to_html
from loreal_plugin.results.markdown import PICTURES, to_markdown
from loreal_plugin.results.report import build_report


@dataclass(frozen=True)
class Written:
    """The pages that were written, and what was not averaged."""

    files: tuple[Path, ...]
    refusals: tuple[Refusal, ...]


def write_report(out: Path, folder: Path | None = None, title: str = "LOREAL: results") -> Written:
    """Write report.md, report.html and pictures/ of an output folder.

    Args:
        folder: where they go; None for `<out>/report`.

    Raises:
        LorealError: there is nothing to report, or a file cannot be written.
    """
    report = build_report(out, title)
    folder = folder or out / "report"
    markdown, html = to_markdown(report), to_html(report)
    for section in report.sections:
        for picture in section.pictures:
            write_bytes(folder / PICTURES / f"{picture.name}.png", picture.png)
    write_text(folder / "report.md", markdown)
    write_text(folder / "report.html", html)
    return Written((folder / "report.md", folder / "report.html"), report.refusals)
