"""The published JSON Schema of records, and whether a record is valid under it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from loreal_plugin.files.schema import fault_of

FILE = Path(__file__).with_name("record.schema.json")


@cache
def schema() -> dict[str, Any]:
    """Return the published schema."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def schema_fault(record: Any) -> str:
    """Return the first place at which a record is not valid and why, "" where it is valid."""
    return fault_of(record, schema(), "the record")
