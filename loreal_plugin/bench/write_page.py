"""results/BENCHMARKS.md from the results: tables between marks, with text by hand around them."""

from __future__ import annotations

import json
from pathlib import Path

from loreal_plugin.bench.lookup import Results, group
from loreal_plugin.bench.page_tables import PARTS
from loreal_plugin.bench.results_file import BenchStore
from loreal_plugin.bench.table_cells import ABSENT, table
from loreal_plugin.files import replace_between, write_text
from loreal_plugin.plain_output import counted


def write_report(store: BenchStore, page: Path) -> list[Path]:
    """Fill in the page's parts and draw its plots beside it; return what was written.

    Raises:
        DataError: nothing was measured. LorealError: the page lacks a part, or cannot be written.
    """
    from loreal_plugin.bench.page_plots import draw_plots

    text = page.read_text(encoding="utf-8") if page.is_file() else skeleton()
    for name, content in parts(store, page).items():
        text = replace_between(text, name, content)
    plots = [path for r in group(store) for path in draw_plots(r, page.parent / "benchmarks")]
    write_text(page, text)
    return [page, *plots]


def skeleton() -> str:
    """Return a page with nothing but the parts."""
    return (
        "# Benchmarks\n\n"
        + "\n\n".join(f"<!-- begin {name} -->\n<!-- end {name} -->" for name in PARTS)
        + "\n"
    )


def parts(store: BenchStore, page: Path) -> dict[str, str]:
    """Return the content of every part of the page, by name."""
    found = group(store)
    made = {
        name: "\n\n".join(_titled(r, make(r)) for r in found if make(r))
        for name, make in PARTS.items()
    }
    other = page.parent / "benchmarks" / "other.json"
    rows = json.loads(other.read_text(encoding="utf-8"))["rows"] if other.is_file() else []
    made["other"] = (
        table(["what", "measured"], [[r["what"], r["found"]] for r in rows]) if rows else ABSENT
    )
    return {name: content or ABSENT for name, content in made.items()}


def _titled(results: Results, content: str) -> str:
    size, device, threads, precision = results.setting
    return f"**{size}, {device}, {counted(threads, 'thread')}, {precision}**\n\n{content}"
