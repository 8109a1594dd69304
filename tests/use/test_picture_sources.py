"""Words become pictures: files, folders, patterns, lists, videos, cameras."""

from __future__ import annotations

import io
import os
import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from loreal_plugin.errors import ConfigError, DataError
from loreal_plugin.use.sources import pictures_of


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the working directory, with a folder as people have it."""
    monkeypatch.chdir(tmp_path)
    for name in ("my pics/b.JPG", "my pics/a.png", "my pics/Größe/c.jpeg", "my pics/.hidden/d.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (9, 99, 199)).save(path)
    (tmp_path / "my pics" / "notes.txt").write_text("no picture")
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "e.gif").write_bytes(b"GIF89a broken")
    (tmp_path / "empty").mkdir()
    return tmp_path


def names(*words: str, stdin: str = "") -> list[str]:
    return [source.name for source in pictures_of(words, io.StringIO(stdin))]


def test_files_folders_patterns_and_lists_keep_their_order(place: Path) -> None:
    inside = ["my pics/a.png", "my pics/b.JPG", "my pics/Größe/c.jpeg"]
    assert names("my pics") == inside
    assert names("my pics/b.JPG", "my pics/a.png") == ["my pics/b.JPG", "my pics/a.png"]
    assert names("my pics/*.png", "my pics/**/*.jpeg") == [inside[0], inside[2]]
    assert names("-", "my pics/a.png", stdin="my pics/b.JPG\r\n\nmy pics\n") == [
        "my pics/b.JPG",
        *inside,
        "my pics/a.png",
    ]
    assert names("7") == [os.path.join("7", "e.gif")], "a folder wins over a camera"
    for pattern in ("my pics/**", "my pi*", "my pics/*", "./my pics/**"):
        found = [os.path.normpath(name) for name in names(pattern) if not name.endswith(".txt")]
        assert sorted(found) == sorted(inside), f"{pattern}: each picture once"


def test_what_is_not_there_says_so_when_it_is_read(place: Path) -> None:
    found = list(pictures_of(["gone.png", "*.tif", "empty", "7"]))
    faults = ("does not exist", "no picture matches", "no picture is in", "cannot be read")
    for source, words in zip(found, faults, strict=True):
        with pytest.raises(DataError, match=words):
            source.read()


class Capture:
    """Stands for OpenCV's: 10 frames a second, each with its number as colour."""

    frames, rate, tells = 25, 10.0, True
    now = 0.0  # of the clock that cameras are timed by

    def __init__(self, what: Any) -> None:
        self.what, self.at, self.open = what, -1, what != "broken.mp4"

    def isOpened(self) -> bool:
        return self.open

    def grab(self) -> bool:
        self.at += 1
        Capture.now += 0.1
        return isinstance(self.what, int) or self.at < self.frames

    def get(self, what: int) -> float:
        told = 0.0 if isinstance(self.what, int) or not self.tells else 100.0 * self.at
        return {0: told, 5: self.rate}[what]

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, np.full((4, 6, 3), (self.at, 0, 200), np.uint8)

    def release(self) -> None:
        self.open = False


def test_a_video_and_a_camera_give_a_picture_every_second(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(VideoCapture=Capture))
    monkeypatch.setattr("loreal_plugin.use.sources.time.monotonic", lambda: Capture.now)
    for name in ("cat.mp4", "broken.mp4"):
        (place / name).touch()
    found = list(pictures_of(["cat.mp4"], every=1.0))
    assert [source.name for source in found] == ["cat.mp4#t=0.0", "cat.mp4#t=1.0", "cat.mp4#t=2.0"]
    assert found[1].read().getpixel((0, 0)) == (200, 0, 10), "BGR becomes RGB"
    assert len(list(pictures_of(["cat.mp4"], every=0))) == Capture.frames
    live = list(islice(pictures_of(["3"], every=0.5), 3))
    assert [one.name for one in live] == ["camera3#t=0.0", "camera3#t=0.5", "camera3#t=1.0"]
    assert all(one.live for one in live) and not any(one.live for one in found)
    broken, whole = islice(pictures_of(["broken.mp4", "my pics/a.png"]), 2)
    with pytest.raises(DataError, match="'broken.mp4' cannot be opened as a video"):
        broken.read()
    assert whole.name == "my pics/a.png", "the others go on"
    monkeypatch.setattr(Capture, "isOpened", lambda self: False)
    with pytest.raises(ConfigError, match="'camera3' cannot be opened as a video"):
        next(iter(pictures_of(["3"])))


@pytest.mark.parametrize(("rate", "pictures"), [(10.0, 6), (5.0, 11), (0.0, 3), (float("nan"), 3)])
def test_a_video_that_does_not_tell_the_time_is_counted(
    place: Path, monkeypatch: pytest.MonkeyPatch, rate: float, pictures: int
) -> None:
    """One of which the rate is unknown, too, is taken as one of 25 frames a second."""
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(VideoCapture=Capture))
    for name, value in (("tells", False), ("rate", rate), ("frames", 51)):
        monkeypatch.setattr(Capture, name, value)
    (place / "cat.mp4").touch()
    found = [source.name for source in pictures_of(["cat.mp4"], every=1.0)]
    assert found == [f"cat.mp4#t={second}.0" for second in range(pictures)]


def test_without_opencv_a_video_says_what_to_install(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    (place / "cat.mov").touch()
    for word in ("cat.mov", "0"):
        with pytest.raises(ConfigError, match="pip install opencv-python-headless"):
            next(iter(pictures_of([word])))


def test_a_real_video_is_read(place: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: no real video is read")
    film = cv2.VideoWriter(str(place / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 24))
    for shade in range(0, 250, 10):
        film.write(np.full((24, 32, 3), (0, 0, shade), np.uint8))
    film.release()
    found = list(pictures_of(["film.avi"], every=1.0))
    assert [source.name for source in found] == [f"film.avi#t={s}.0" for s in range(3)]
    red, green, blue = found[2].read().getpixel((5, 5))
    assert abs(red - 200) < 12 and green < 12 and blue < 12
