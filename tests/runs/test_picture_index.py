"""Pictures are read once: the memo, what makes it stale, and what a run says about broken ones."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from helpers import tiny_image_folder

from loreal_plugin.data.storage import save_json_file, saves_held_back
from loreal_plugin.errors import DataError
from loreal_plugin.runs import picture_index as pictures
from loreal_plugin.runs.picture_index import PictureIndex


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path / "cache"))
    return sorted(
        map(
            str,
            tiny_image_folder(tmp_path / "pics", classes=2, per_class=3, size=16).rglob("*.png"),
        )
    )


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the list of the pictures that were really read."""
    seen: list[str] = []
    identify = pictures._identify
    monkeypatch.setattr(pictures, "_identify", lambda path: seen.append(path) or identify(path))
    return seen


def test_hashes_are_of_the_contents(paths: list[str]) -> None:
    index = PictureIndex()
    index.check(paths)
    assert [index.sha256(p) for p in paths] == [
        hashlib.sha256(Path(p).read_bytes()).hexdigest() for p in paths
    ]


def test_a_second_run_reads_nothing_and_a_third_only_what_changed(
    paths: list[str], read: list[str]
) -> None:
    first = PictureIndex()
    first.check(paths)
    assert sorted(read) == paths
    read.clear()
    second = PictureIndex()
    second.check([*paths, *paths])
    assert read == [] and [second.sha256(p) for p in paths] == [first.sha256(p) for p in paths]
    changed = Path(paths[0])
    changed.write_bytes(Path(paths[1]).read_bytes())
    status = changed.stat()
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    third = PictureIndex()
    third.check(paths)
    assert read == [paths[0]] and third.sha256(paths[0]) == first.sha256(paths[1])


def test_broken_and_missing_pictures_are_named_and_not_remembered(
    paths: list[str], read: list[str]
) -> None:
    whole = Path(paths[0]).read_bytes()
    Path(paths[0]).write_bytes(whole[:60])
    Path(paths[1]).unlink()
    with pytest.raises(DataError, match="2 of 6 pictures cannot be read") as error:
        PictureIndex().check(paths)
    assert paths[0] in str(error.value) and paths[1] in str(error.value)
    read.clear()
    assert list(PictureIndex().unreadable(paths)) == paths[:2] == read
    Path(paths[0]).write_bytes(whole)
    Path(paths[1]).write_bytes(whole)
    PictureIndex().check(paths)


@pytest.mark.parametrize("content", ["{", "[]", '{"%s": [1, 2]}', '{"%s": "x"}'])
def test_a_damaged_memo_is_not_believed(
    paths: list[str], read: list[str], tmp_path: Path, content: str
) -> None:
    PictureIndex().check(paths)
    (file,) = (tmp_path / "cache" / "pictures").iterdir()
    file.write_text(content.replace("%s", paths[0]))
    read.clear()
    PictureIndex().check(paths)
    assert paths[0] in read


def test_names_that_are_no_utf8_are_remembered_too(paths: list[str], read: list[str]) -> None:
    odd = os.fsdecode(os.fsencode(paths[0]) + b"\xe9")
    os.rename(paths[0], odd)
    first, second = PictureIndex(), PictureIndex()
    first.check([odd])
    second.check([odd])
    assert read == [odd] and first.sha256(odd) == second.sha256(odd)


def test_long_work_says_so(paths: list[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(pictures, "MANY", 2)
    monkeypatch.setattr(pictures, "CHUNK", 4)
    monkeypatch.setattr(pictures, "EVERY", -1.0)
    said: list[str] = []
    PictureIndex(said.append).check(paths)
    assert said == ["reading 6 pictures (once; changed ones again)", "  4 of 6", "  6 of 6"]


def test_saves_that_are_held_back_are_written_only_by_commit(tmp_path: Path) -> None:
    with saves_held_back() as saves:
        assert save_json_file({"a": 1}, tmp_path / "deep" / "a.json")
        assert not (tmp_path / "deep").exists()
    assert not (tmp_path / "deep").exists(), "given up"
    with saves_held_back() as saves:
        save_json_file({"a": 1}, tmp_path / "deep" / "a.json")
        saves.commit()
    assert (tmp_path / "deep" / "a.json").read_text().split() == ["{", '"a":', "1", "}"]
    assert save_json_file({"b": 1}, tmp_path / "b.json") and (tmp_path / "b.json").is_file(), (
        "outside as ever"
    )
