"""The results file: one record a cell, written whole after every cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loreal_plugin.bench.cells import Cell
from loreal_plugin.errors import DataError
from loreal_plugin.files import read_json, write_json

SCHEMA_VERSION = 1


class BenchStore:
    """Records by cell id in one JSON file.

    Raises:
        DataError: the file exists and is none of ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[str, dict[str, Any]] = {}
        if path.exists():
            content = read_json(path)
            if (
                content is None
                or content.get("schema_version") != SCHEMA_VERSION
                or "cells" not in content
            ):
                what = f"file of bench results of schema {SCHEMA_VERSION}"
                raise DataError(f"{path} is no {what}; move it, or name another one (--out)")
            self.records = content["cells"]

    def has(self, cell: Cell, where: dict[str, Any]) -> bool:
        """Return whether all variants of a cell were measured on this device with this torch."""
        record = self.records.get(cell.id)
        if (
            record is None
            or "error" in record
            or not set(cell.variants) <= set(record["cell"]["variants"])
        ):
            return False
        then = record["where"]
        same_torch = then["versions"].get("torch") == where["versions"].get("torch")
        return then["device"] == where["device"] and same_torch

    def add(self, cell: Cell, record: dict[str, Any]) -> None:
        """Keep a record and write the file; a failure never replaces a measurement."""
        if "error" in record and "error" not in self.records.get(cell.id, {"error": ""}):
            return
        self.records[cell.id] = record
        write_json(self.path, {"schema_version": SCHEMA_VERSION, "cells": self.records})
