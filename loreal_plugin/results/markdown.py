"""A report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from loreal_plugin.results.layout import Cell, Table
from loreal_plugin.results.report import Fold, Report, Section

PICTURES = "pictures"  # folder of the PNG files, beside the page


def to_markdown(report: Report) -> str:
    """Return the page."""
    sections = [_section(section, i) for i, section in enumerate(report.sections)]
    return "\n\n".join([f"# {plain(report.title)}", *sections]) + "\n"


def _section(section: Section, index: int) -> str:
    # the verdict stands right below the title of the page
    parts = [f"## {plain(section.title)}"] if index else []
    parts += _paragraphs(section.text)
    parts += [
        f"![{plain(picture.caption)}]({PICTURES}/{picture.name}.png)"
        for picture in section.pictures
    ]
    parts += [table_markdown(table) for table in section.tables]
    parts += [_fold(fold) for fold in section.folds]
    return "\n\n".join(parts)


def _paragraphs(text: Sequence[str]) -> list[str]:
    """Return paragraphs; lines of a list belong together, others do not."""
    lines = [plain(line) for line in text]
    items = [line for line in lines if line.startswith("- ")]
    others = [line for line in lines if not line.startswith("- ")]
    return [*others, *(["\n".join(items)] if items else [])]


def _fold(fold: Fold) -> str:
    """Return what a reader opens; Markdown inside needs empty lines around it."""
    parts = [f"<details><summary>{plain(fold.title)}</summary>", *_paragraphs(fold.text)]
    parts += [table_markdown(table) for table in fold.tables]
    return "\n\n".join([*parts, "</details>"])


def table_markdown(table: Table) -> str:
    """Return one table below its caption."""
    rule = "|---" * table.words + "|---:" * (len(table.head) - table.words) + "|"
    head = [in_cell(name) for name in table.head]
    lines = [f"**{plain(table.caption)}**", "", _line(head), rule]
    lines += [_line([_cell(cell) for cell in row]) for row in table.body]
    lines += [part for note in table.notes for part in ("", plain(note))]
    return "\n".join(lines)


def plain(text: str) -> str:
    """Return text in which no name can begin HTML, a link or a line of its own."""
    text = re.sub(r"[\r\n]+", " ", text).replace("](", "]\\(")
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def in_cell(text: str) -> str:
    """Return plain text that does not end its cell of a table."""
    return plain(text).replace("|", "\\|")


def _cell(cell: Cell) -> str:
    text = in_cell(cell.text)
    return f"**{text}**" if cell.best else text


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
