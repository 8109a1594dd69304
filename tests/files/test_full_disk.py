"""A disk that fills at any write: one clear line, nothing half written, the same with room."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from full_disk import FullDisk

from loreal_plugin import files
from loreal_plugin.cli.main import disk_full
from loreal_plugin.errors import LorealError
from loreal_plugin.files.folders import preparing, put_in_place
from loreal_plugin.files.manifest import Manifest
from loreal_plugin.files.store import VerifiedStore
from loreal_plugin.files.tensors import write_tensors, write_torch
from loreal_plugin.results.record import write_record

TENSORS = {"a": torch.arange(60000.0)}  # more than one piece of a buffer


def write_folder(path: Path) -> None:
    with preparing(path) as prepared:
        files.write_text(prepared / "new" / "file", "x" * 20000)
        put_in_place(prepared / "new", path, prepared)


def write_stage(path: Path) -> None:
    """Write what a stage leaves: a checkpoint, and the record that vouches for it."""
    write_tensors(path / "model", TENSORS)
    write_record(path, {"files": Manifest(path).hashes([path / "model"])})


WRITERS: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda path: files.write_bytes(path, b"x" * 20000),
    "json": lambda path: files.write_json(path, {"text": "x"}),
    "checked": lambda path: files.write_checked(path, {"text": "x"}),
    "tensors": lambda path: write_tensors(path, TENSORS),
    "torch": lambda path: write_torch(path, TENSORS),
    "store": lambda path: VerifiedStore(path, "table").write("x", {"of": 1}, TENSORS, {}),
    "folder": write_folder,
    "stage": write_stage,
}


def below(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize("name", WRITERS)
def test_a_writer_that_finds_the_disk_full_at_any_write(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, whole = WRITERS[name], tmp_path / "whole"
    disk = FullDisk(whole)
    with monkeypatch.context() as patch:
        disk.install(patch.setattr)
        write(whole / "x")
    assert disk.count >= 3, "the disk saw no writes"
    for room in range(disk.count):
        folder = tmp_path / str(room)
        full = FullDisk(folder, room)
        with monkeypatch.context() as patch:
            full.install(patch.setattr)
            try:
                write(folder / "x")
            except (OSError, LorealError) as error:
                assert disk_full(error), error
            else:  # the name of a file that is in place: nothing is lost where it is not synced
                assert full.count > room and below(folder) == below(whole)
        left = below(folder)
        assert not [path for path in left if path.endswith(".part")], f"{room}: {left.keys()}"
        assert left.items() <= below(whole).items(), "what is there is whole"
        if name == "stage" and (folder / "x" / "results.json").exists():
            assert files.read_checked(folder / "x" / "results.json")[1] == ""
        write(folder / "x")
        assert below(folder) == below(whole)
        assert not [path for path in os.listdir(folder) if path.endswith(".part")]
