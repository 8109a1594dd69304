"""Whether a value is valid under a JSON Schema: the few keywords that the published schemas use.

The schemas can be used with any validator; reading our own files needs none. Tests compare this one
with the package jsonschema (`tests/results/test_schema.py`, `tests/edge/test_hostile_packages.py`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_TYPES: Mapping[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
}


def fault_of(value: Any, schema: Mapping[str, Any], name: str) -> str:
    """Return the first place at which a value is not valid and why, "" where it is valid.

    Args:
        name: what the value is called in the text.
    """
    return _fault(value, schema, schema, "", name)


def _fault(
    value: Any, part: Mapping[str, Any], schema: Mapping[str, Any], where: str, name: str
) -> str:
    """Return the fault of a value under a part of the schema; `where` is the value's path."""
    if "$ref" in part:
        part = schema["$defs"][part["$ref"].rsplit("/", 1)[1]]
    fault = _own_fault(value, part, where or name)
    if fault:
        return fault
    for inside, entry, rule in _entries(value, part, where):
        fault = _fault(entry, rule, schema, inside, name)
        if fault:
            return fault
    if "if" in part:
        chosen = "else" if _fault(value, part["if"], schema, where, name) else "then"
        return _fault(value, part[chosen], schema, where, name)
    return ""


def _entries(
    value: Any, part: Mapping[str, Any], where: str
) -> list[tuple[str, Any, Mapping[str, Any]]]:
    """Return path, value and rule of every entry of an object or a list."""
    if isinstance(value, list) and "items" in part:
        return [(f"{where}[{i}]", entry, part["items"]) for i, entry in enumerate(value)]
    if not isinstance(value, dict):
        return []
    named, others = part.get("properties", {}), part.get("additionalProperties", {})
    return [
        (f"{where}.{name}" if where else name, entry, named.get(name, others))
        for name, entry in value.items()
    ]


def _own_fault(value: Any, part: Mapping[str, Any], where: str) -> str:
    """Return what is wrong with a value itself, its entries aside."""
    kinds = part.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return f"{where} is {_shown(value)}, not {' or '.join(kinds)}"
    allowed = part.get("enum", [part["const"]] if "const" in part else None)
    if allowed is not None and not any(_same(value, one) for one in allowed):
        one_of = "one of " if len(allowed) > 1 else ""
        return f"{where} is {_shown(value)}, not {one_of}{', '.join(map(str, allowed))}"
    if isinstance(value, str) and not re.search(part.get("pattern", ""), value):
        return f"{where} is {_shown(value)}, which is not of the form {part['pattern']}"
    if _is(value, "number") and ("minimum" in part or "maximum" in part):
        least, most = part.get("minimum", -math.inf), part.get("maximum", math.inf)
        if not least <= value <= most:
            return f"{where} is {value}, outside {least} to {most}"
    return _missing(value, part, where)


def _missing(value: Any, part: Mapping[str, Any], where: str) -> str:
    """Return which entries an object or a list lacks, "" where it has all."""
    for kind, least in ((dict, "minProperties"), (list, "minItems")):
        if isinstance(value, kind) and len(value) < part.get(least, 0):
            return f"{where} is empty" if not value else f"{where} has too few entries"
    required = part.get("required", ()) if isinstance(value, dict) else ()
    missing = [name for name in required if name not in value]
    return f"{where} lacks {', '.join(missing)}" if missing else ""


def _same(value: Any, other: Any) -> bool:
    # JSON's true is not 1
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _is(value: Any, kind: str) -> bool:
    if kind == "integer":
        return _is(value, "number") and value == value // 1
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, _TYPES[kind])


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
