"""The published JSON Schema of records, and whether a record is valid under it.

`record.schema.json` can be used with any validator. Reading needs none: it uses these few keywords,
which `tests/results/test_schema.py` compares with the package jsonschema.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("record.schema.json")
_TYPES: Mapping[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
}


@cache
def schema() -> dict[str, Any]:
    """Return the published schema."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def schema_fault(value: Any, part: Mapping[str, Any] | None = None, where: str = "") -> str:
    """Return the first place at which a record is not valid and why, "" where it is valid.

    Args:
        part: of the schema; all of it where it is left out.
        where: path of the value, for the text.
    """
    part = schema() if part is None else part
    if "$ref" in part:
        part = schema()["$defs"][part["$ref"].rsplit("/", 1)[1]]
    fault = _own_fault(value, part, where or "the record")
    if fault:
        return fault
    if isinstance(value, dict):
        fault = _entries_fault(value, part, where)
    elif isinstance(value, list) and "items" in part:
        found = (
            schema_fault(entry, part["items"], f"{where}[{i}]") for i, entry in enumerate(value)
        )
        fault = next(filter(None, found), "")
    if not fault and "if" in part:
        chosen = "else" if schema_fault(value, part["if"]) else "then"
        fault = schema_fault(value, part[chosen], where)
    return fault


def _entries_fault(value: dict[str, Any], part: Mapping[str, Any], where: str) -> str:
    named = part.get("properties", {})
    others = part.get("additionalProperties", {})
    for name, entry in value.items():
        inside = f"{where}.{name}" if where else name
        fault = schema_fault(entry, named.get(name, others), inside)
        if fault:
            return fault
    return ""


def _own_fault(value: Any, part: Mapping[str, Any], where: str) -> str:
    """Return what is wrong with a value itself, its entries aside."""
    kinds = part.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return f"{where} is {_shown(value)}, not {' or '.join(kinds)}"
    if "enum" in part and value not in part["enum"]:
        return f"{where} is {_shown(value)}, not one of {', '.join(map(str, part['enum']))}"
    if isinstance(value, str) and not re.search(part.get("pattern", ""), value):
        return f"{where} is {_shown(value)}, which is not of the form {part['pattern']}"
    if _is(value, "number") and ("minimum" in part or "maximum" in part):
        least, most = part.get("minimum", -math.inf), part.get("maximum", math.inf)
        if not least <= value <= most:
            return f"{where} is {value}, outside {least} to {most}"
    required = part.get("required", ()) if isinstance(value, dict) else ()
    missing = [name for name in required if name not in value]
    return f"{where} lacks {', '.join(missing)}" if missing else ""


def _is(value: Any, kind: str) -> bool:
    if kind == "integer":
        return _is(value, "number") and value == value // 1
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, _TYPES[kind])


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
