"""results.json: whole or not at all, and only ours counts."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from made_runs import facts

from loreal_plugin.errors import LorealError
from loreal_plugin.files import write_json
from loreal_plugin.results.record import (
    RESULTS,
    harmonic_mean,
    is_complete,
    read_results,
)

RECORD = facts("maple", 96, 1) | {"key": "k"}


def test_a_record_of_version_1_is_one_of_base_to_new(tmp_path: Path) -> None:
    write_json(tmp_path / RESULTS, RECORD | {"schema_version": 1})
    assert read_results(tmp_path) == RECORD | {"schema_version": 1, "protocol": "base2new"}
    assert is_complete(tmp_path, "k")


@pytest.mark.parametrize(
    ("name", "model", "correction"),
    [
        ("zero-shot", "zero-shot", ""),
        ("zero-shot, up-sampled", "zero-shot", "up-sampled"),
        ("MaPLe trained at 224, mean shift", "alpha", "mean shift"),
        ("MaPLe trained at 96", "beta", ""),
    ],
)
def test_rivals_of_an_older_release_get_their_model_and_correction(
    tmp_path: Path, name: str, model: str, correction: str
) -> None:
    rows = [{"name": name, "label": name}]
    write_json(tmp_path / RESULTS, RECORD | {"kind": "rivals", "phi": 96, "rows": rows})
    (row,) = read_results(tmp_path)["rows"]
    assert row == rows[0] | {"model": model, "correction": correction}


def test_what_a_rival_says_of_itself_is_not_read_from_its_name(tmp_path: Path) -> None:
    rows = [{"name": "CLIP, whatever", "label": "CLIP", "model": "zero-shot", "correction": ""}]
    write_json(tmp_path / RESULTS, RECORD | {"kind": "rivals", "phi": 96, "rows": rows})
    assert read_results(tmp_path)["rows"] == rows


def test_written_record_is_read_back_and_complete_under_its_key_only(tmp_path: Path) -> None:
    write_json(tmp_path / RESULTS, RECORD)
    assert read_results(tmp_path) == RECORD
    assert is_complete(tmp_path, "k") and not is_complete(tmp_path, "other")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        json.dumps({**RECORD, "schema_version": 0}),
        json.dumps({"schema_version": 1, "key": "k"}),
    ],
)
def test_broken_or_foreign_files_never_count(tmp_path: Path, content: str) -> None:
    (tmp_path / RESULTS).write_text(content)
    assert read_results(tmp_path) is None and not is_complete(tmp_path, "k")


def test_a_folder_without_record_is_not_complete(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("Finish training")
    assert not is_complete(tmp_path, "k")


def test_full_disk_is_one_clear_error_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: Any
) -> None:
    write_json(tmp_path / RESULTS, RECORD)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LorealError, match="No space left on device; free some space or set OUT"):
        write_json(tmp_path / RESULTS, {**RECORD, "key": "new"})
    assert read_results(tmp_path)["key"] == "k"
    assert os.listdir(tmp_path) == [RESULTS]


def test_harmonic_mean_of_nothing_is_nothing() -> None:
    assert harmonic_mean(0.0, 0.0) == 0.0
    assert harmonic_mean(60.0, 30.0) == pytest.approx(40.0)
