"""Answers in words: a table for people, CSV and JSON lines for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from loreal_plugin.use.predict import Answered

FORMS = ("table", "csv", "json")
_WIDEST, _WIDEST_PICTURE = 48, 80  # characters of a class name and of a picture's in the table
# what a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection")
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def head_of(form: str) -> str:
    """Return what comes before the first answer; empty for none."""
    return _csv_line(["picture", "rank", "class", "probability"]) if form == "csv" else ""


def line_of(answered: Answered, form: str, names: Sequence[str], width: int) -> str:
    """Return an answer in a form; empty where the form has no place for a fault.

    Args:
        names: all class names, for the width of the table's column.
        width: characters of the pictures' column.
    """
    if form == "json":
        facts: dict[str, object] = {"picture": answered.name}
        if answered.fault:
            facts["error"] = answered.fault
        else:
            facts["classes"] = [
                {"class": one.classname, "probability": round(one.probability, 6)}
                for one in answered.classes
            ]
        return json.dumps(facts, ensure_ascii=False)
    if answered.fault:
        return ""
    if form == "csv":
        rows = [
            [
                no_formula(answered.name),
                str(rank),
                no_formula(one.classname),
                f"{one.probability:.6f}",
            ]
            for rank, one in enumerate(answered.classes, start=1)
        ]
        return "\n".join(_csv_line(row) for row in rows)
    column = min(max(len(name) for name in names), _WIDEST)
    first, *others = answered.classes
    rest = ", ".join(f"{one.classname} {100 * one.probability:.1f} %" for one in others)
    line = f"{answered.name:<{min(width, _WIDEST_PICTURE)}}  {first.classname:<{column}}"
    return f"{line}  {100 * first.probability:5.1f} %" + (f"   {rest}" if rest else "")


def no_formula(name: str) -> str:
    """Return a name for a CSV file: a spreadsheet shows it as text and does not compute it.

    One that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    return f"'{name}" if name.startswith(_FORMULA) else name


def _csv_line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()
