"""A report as Markdown."""

from __future__ import annotations

from loreal_plugin.results.layout import Cell, Table
from loreal_plugin.results.report import Report, Section


def to_markdown(report: Report, pictures: str = "pictures") -> str:
    """Return the page; `pictures` is the folder of the PNG files, seen from the page."""
    parts = [f"# {report.title}", *(_section(section, pictures) for section in report.sections)]
    return "\n\n".join(parts) + "\n"


def _section(section: Section, pictures: str) -> str:
    parts = [f"## {section.title}"]
    # lines of a list belong together, paragraphs do not
    plain = [line for line in section.text if not line.startswith("- ")]
    items = [line for line in section.text if line.startswith("- ")]
    parts += plain + (["\n".join(items)] if items else [])
    parts += [table_markdown(table) for table in section.tables]
    parts += [
        f"![{picture.caption}]({pictures}/{picture.name}.png)" for picture in section.pictures
    ]
    return "\n\n".join(parts)


def table_markdown(table: Table) -> str:
    """Return one table below its caption."""
    rule = "|---" * table.words + "|---:" * (len(table.head) - table.words) + "|"
    lines = [f"**{table.caption}**", "", _line(table.head), rule]
    lines += [_line([_cell(cell) for cell in row]) for row in table.body]
    lines += [part for note in table.notes for part in ("", note)]
    return "\n".join(lines)


def _cell(cell: Cell) -> str:
    text = cell.text.replace("|", "\\|")
    return f"**{text}**" if cell.best else text


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
