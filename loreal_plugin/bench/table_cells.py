"""Cells and tables of markdown: a number with its quartiles, or that it was not measured."""

from __future__ import annotations

from collections.abc import Sequence

ABSENT = "not measured"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def number(found: dict[str, float] | None) -> str:
    """Return a median with its quartiles."""
    if found is None:
        return ABSENT
    median, q1, q3 = (short_number(found[name]) for name in ("median", "q1", "q3"))
    return f"{median} ({q1} to {q3})"


def short_number(value: float) -> str:
    """Return a number with three digits, of 100 and more all digits before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
