"""Which pictures a folder has, who trains and who measures; nothing is written into it."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from messy import CLASSES, messy_folder
from PIL import Image

from loreal_plugin.errors import DataError
from loreal_plugin.use import staging
from loreal_plugin.use.folder import FolderContent, scan_folder
from loreal_plugin.use.staging import Staged, stage


def fill(root: Path, *places: str, count: int = 4) -> Path:
    """Write `count` pictures into each place."""
    for number, place in enumerate(places):
        (root / place).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            shade = (20 * number, 10 * index, 99)
            Image.new("RGB", (6, 6), shade).save(root / place / f"{index}.png")
    return root


def tree(root: Path) -> list[str]:
    return sorted(os.path.relpath(path, root) for path in root.rglob("*"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what is remembered of pictures to the test."""
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path / "cache"))


def staged(folder: Path, name: str = "mine", hold_out: float = 0.25) -> Staged:
    return stage(folder, folder.parent / "out", name, hold_out, say=lambda text: None)


def test_a_messy_folder_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    folder = messy_folder(tmp_path / "My Pictures")
    before = tree(folder)
    found = staged(folder)
    assert tree(folder) == before
    assert found.classnames == sorted(CLASSES) and found.left_out == ("empty",)
    assert {os.path.basename(path) for path in found.broken} == {"broken.jpeg", "notes.jpg"}
    assert "it begins with the text 'no picture" in found.broken[str(folder / "red fox/notes.jpg")]
    every = found.split.train + found.split.test
    targets = {os.path.realpath(item.path) for item in every}
    assert len(targets) == len(every) == 8 * len(CLASSES) + 2
    assert str(folder / "red fox" / "2023 summer" / "IMG 1.JPG") in targets
    for item in every:
        assert os.path.realpath(item.path).startswith(str(folder / item.classname))
    assert not {i.path for i in found.split.train} & {i.path for i in found.split.test}
    held = [sum(i.classname == name for i in found.split.test) for name in sorted(CLASSES)]
    assert held == [2, 2, 2, 2]


def test_the_same_pictures_are_always_divided_alike(tmp_path: Path) -> None:
    folder = fill(tmp_path / "pics", "a", "b", count=8)
    first = staged(folder)
    assert staged(folder).split == first.split
    assert stage(folder, tmp_path / "elsewhere", "mine", 0.25, say=print).split.test != []
    other = stage(folder, tmp_path / "third", "mine", 0.5, say=print).split
    assert len(other.test) == 8 and len(first.split.test) == 4
    # a picture more is seen
    fill(folder, "a", count=9)
    assert len(sum(staged(folder).split, [])) == 17


def test_a_division_that_is_there_is_kept(tmp_path: Path) -> None:
    folder = fill(tmp_path / "pics", "Train/a", "Train/b", "valid/a", "valid/b", count=3)
    found = staged(folder)
    assert len(found.split.train) == len(found.split.test) == 6
    assert all("Train" in os.path.realpath(item.path) for item in found.split.train)
    assert all("valid" in os.path.realpath(item.path) for item in found.split.test)
    # classes may be called train and test
    plain = scan_folder(fill(tmp_path / "plain", "train", "test", "tram"))
    assert plain.classnames == ["test", "train", "tram"]


def test_a_name_belongs_to_one_folder(tmp_path: Path) -> None:
    staged(fill(tmp_path / "one", "a", "b"))
    with pytest.raises(DataError, match=r"belongs to the pictures in .*one; .*--name"):
        staged(fill(tmp_path / "two", "a", "b"))


@pytest.mark.parametrize("wrong", [b"a/caf\xe9.png", b"b\xfcro/0.png"])
def test_names_that_are_no_utf8_are_named(tmp_path: Path, wrong: bytes) -> None:
    folder = fill(tmp_path / "pics", "a", "b")
    place = os.path.join(os.fsencode(folder), wrong)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    Path(folder / "a" / "0.png").rename(os.fsdecode(place))
    escaped = os.fsdecode(wrong).encode("ascii", "backslashreplace").decode()
    with pytest.raises(DataError, match=r"1 picture\(s\) cannot be trained on") as error:
        staged(folder)
    assert f"first '{folder}/{escaped}'" in str(error.value) and "convmv" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_two_at_once_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "pics", "a", "b", count=12)
    both, link = Barrier(2, timeout=30), Path.symlink_to

    def scan(place: Path) -> FolderContent:
        found = scan_folder(place)
        both.wait()
        return found

    def slowly(path: Path, target: str) -> None:
        time.sleep(0.002)
        link(path, target)

    monkeypatch.setattr(staging, "scan_folder", scan)
    monkeypatch.setattr(Path, "symlink_to", slowly)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(staged, [folder, folder])
    assert first == second and len(first.split.train) == 18
    assert all(os.path.isfile(item.path) for item in first.split.train)
    left = [name for name in os.listdir(first.root) if name not in ("mine", ".mine.lock")]
    assert left == []


@pytest.mark.parametrize("name", ["..", ".", "", "a/../..", "ABSOLUTE"])
def test_a_name_that_means_another_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # without the check these names would be removed for real: never one outside this test's folder
    name = str(tmp_path / "out") if name == "ABSOLUTE" else name
    for part in ("_make_links", "_stage"):
        monkeypatch.setattr(staging, part, lambda *_: pytest.fail("it would be removed"))
    folder, root = fill(tmp_path / "pics", "a", "b"), tmp_path / "out" / "pictures"
    (root / "earlier").mkdir(parents=True)
    (tmp_path / "out" / "run.json").touch()
    before = tree(tmp_path)
    with pytest.raises(DataError, match=r"cannot be that of a folder; .* --name"):
        stage(folder, root, name, 0.25, say=print)
    assert tree(tmp_path) == before


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    folder, theirs = fill(tmp_path / "pics", "a", "b"), tmp_path / "out" / "mine"
    theirs.mkdir(parents=True)
    assert staged(folder).classnames == ["a", "b"], "an empty one is in nobody's way"
    (theirs / staging.NOTE).unlink()
    before = tree(theirs)
    with pytest.raises(DataError, match=r"out/mine is in the way.*--name"):
        staged(folder)
    assert tree(theirs) == before


def test_staging_that_was_interrupted_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(tmp_path / "pics", "a", "b")
    for part in ("_draw_split", "put_in_place"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(staging, part, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            staged(folder)
        assert staged(folder).classnames == ["a", "b"]
        fill(folder, "a", count=5)


@pytest.mark.parametrize(
    ("places", "count", "words"),
    [
        ((), 4, "no folder in .* has a picture"),
        (("only",), 4, "has one class, 'only'"),
        (("images/a", "images/b"), 4, r"did you mean '.*pics/images'"),
        (("Cat", "cat"), 4, "case, spaces or '_' tell apart: Cat, cat"),
        (("red fox", "red_fox"), 4, "red fox, red_fox"),
        (("a", "b"), 3, r"too few pictures.*'a' 2 \+ 1, 'b' 2 \+ 1"),
    ],
)
def test_what_cannot_be_used_is_said(
    tmp_path: Path, places: tuple[str, ...], count: int, words: str
) -> None:
    (tmp_path / "pics").mkdir()
    with pytest.raises(DataError, match=words):
        staged(fill(tmp_path / "pics", *places, count=count))
    with pytest.raises(DataError, match="is no folder"):
        scan_folder(tmp_path / "gone")
