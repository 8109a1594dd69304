"""Files of the demonstration world are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loreal_plugin.demo.storage import write_whole


def test_a_file_gets_its_folder_and_its_new_content(tmp_path: Path):
    path = tmp_path / "new" / "sheet.png"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two" and os.listdir(path.parent) == ["sheet.png"]


def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "report.json"
    write_whole(path, b"old")

    def fail(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["report.json"]
