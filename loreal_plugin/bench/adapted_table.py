"""The table of what an adapted image side costs at test, beside the host alone."""

from __future__ import annotations

from typing import Any

from loreal_plugin.bench.cells import TEST_CLASSES, cell_of
from loreal_plugin.bench.lookup import Results, title_of
from loreal_plugin.bench.table_cells import ABSENT, number, table


def adapted_table(results: Results) -> str:
    """Return what an adapted image side adds to the host's own predictions."""
    rows = []
    for method in results.methods:
        for phi in results.phis:
            for batch in (1, 32):
                record = results.find("adapted", method, phi, TEST_CLASSES, batch)
                if record:
                    rows.append(_row(results, record))
    head = ["method", "phi", "B", "parameters", "host ms/sample", "adapted ms/sample"]
    return table([*head, "adapted / host", "host MiB", "added"], rows) if rows else ""


def _row(results: Results, record: dict[str, Any]) -> list[str]:
    cell = cell_of(record["cell"])
    host, ours = (
        results.peak(cell.method, cell.phi, cell.n_classes, cell.batch, name)
        for name in cell.variants
    )
    return [
        title_of(cell.method),
        str(cell.phi),
        str(cell.batch),
        f"{record['facts']['adapted_parameters']:,}",
        *(number(results.milliseconds(record, name)) for name in cell.variants),
        number(results.ratio(record, "adapted", "host")),
        ABSENT if host is None else f"{host:.0f}",
        ABSENT if host is None or ours is None else f"{ours - host:+.0f}",
    ]
