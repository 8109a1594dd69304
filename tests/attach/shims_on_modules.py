"""Shims on modules of a few lines: one is applied where its cause is, and taken back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loreal_plugin.attach.inspect_host import HostInspection
from loreal_plugin.attach.shims import SHIMS

BY_NAME = {shim.name: shim for shim in SHIMS}


@contextmanager
def applied(name: str, tmp_path: Path) -> Iterator[None]:
    """Apply one shim, whose cause has to be there, and take it back."""
    inspection = HostInspection(tmp_path, None, False, [])
    assert BY_NAME[name].needed(inspection)
    undo = BY_NAME[name].apply(inspection)
    try:
        yield
    finally:
        undo()
    assert BY_NAME[name].needed(inspection)
