"""Words of the command line as pictures: files, folders, patterns, lists, videos, cameras."""

from __future__ import annotations

import glob
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any, TextIO

from PIL import Image

from loreal_plugin.errors import ConfigError, DataError
from loreal_plugin.files.listing import PICTURE_ENDINGS, pictures_below
from loreal_plugin.pictures import read_picture

LIST = "-"
VIDEO_ENDINGS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")
_MILLISECONDS, _RATE = 0, 5  # cv2.CAP_PROP_POS_MSEC, cv2.CAP_PROP_FPS
_USUAL_RATE = 25.0  # frames a second of a video that does not tell


@dataclass(frozen=True)
class Source:
    """A picture to come.

    Attributes:
        name: what answers call it.
        read: returns it in RGB; DataError where it cannot be read.
        live: it is of a camera; its answer is wanted before the next is there.
    """

    name: str
    read: Callable[[], Image.Image]
    live: bool = False


def pictures_of(
    words: Iterable[str], stdin: TextIO | None = None, *, every: float = 1.0
) -> Iterator[Source]:
    """Yield the pictures that words name, in their order; folders and patterns sorted.

    A word is a file, a folder (with all below it), a pattern (`*`, `?`, `[`), `-` (a list of these
    on stdin, one a line), a video, or the number of a camera. What does not exist is yielded, too:
    reading it says what is wrong.

    Args:
        every: seconds between two pictures of a video or camera.

    Raises:
        ConfigError: a video or camera without OpenCV, or a camera that cannot be opened.
    """
    for word in words:
        if word == LIST and stdin is not None:
            lines = (line.rstrip("\r\n") for line in stdin)
            yield from pictures_of((line for line in lines if line), every=every)
        elif os.path.isdir(word):
            yield from _in_folder(word)
        elif os.path.exists(word):
            video = word.lower().endswith(VIDEO_ENDINGS)
            yield from _frames(word, word, every) if video else (_file(word),)
        elif word.isascii() and word.isdigit():
            yield from _frames(int(word), f"camera{word}", every)
        elif glob.has_magic(word):
            found = _matches(os.path.expanduser(word))
            yield from pictures_of(found, every=every) if found else (_nothing(word, "matches"),)
        else:
            yield _file(word)


def first_of(sources: Iterator[Source], count: int) -> list[Source]:
    """Take up to `count` pictures off the front and return them; of a camera only one, which is
    not to wait for the others.
    """
    first: list[Source] = []
    for source in islice(sources, count):
        first.append(source)
        if source.live:
            break
    return first


def _file(path: str) -> Source:
    return Source(path, partial(read_picture, path))


def _in_folder(folder: str) -> Iterator[Source]:
    """Yield the pictures of a folder, or one that says that there is none."""
    found = False
    for path in pictures_below(folder):
        found = True
        yield _file(path)
    if not found:
        yield _nothing(folder, "is in", f" ({', '.join(PICTURE_ENDINGS)})")


def _matches(pattern: str) -> list[str]:
    """Return what a pattern matches, sorted, but for what lies in a folder that it matches, too:
    the folder brings that along, and `holiday/**` matches the folder and all in it.
    """
    found = sorted(glob.glob(pattern, recursive=True))
    folders = {os.path.normpath(path) for path in found if os.path.isdir(path)}
    return [path for path in found if folders.isdisjoint(_folders_above(path))]


def _folders_above(path: str) -> Iterator[str]:
    """Yield the folders in which a path lies, as they are written."""
    here = os.path.normpath(path)
    while (above := os.path.dirname(here)) not in ("", here):
        yield above
        here = above


def _nothing(word: str, verb: str, more: str = "") -> Source:
    return _faulty(word, f"no picture {verb} '{word}'{more}")


def _faulty(name: str, fault: str) -> Source:
    """Return a picture that cannot be read, and says why."""

    def read() -> Image.Image:
        raise DataError(fault)

    return Source(name, read)


def _frames(what: str | int, name: str, every: float) -> Iterator[Source]:
    """Yield pictures of a video file, or of a camera until it is interrupted."""
    cv2, live = _opencv(name), isinstance(what, int)
    capture = cv2.VideoCapture(what)
    try:
        if not capture.isOpened():
            fault = f"'{name}' cannot be opened as a video; is it one, and free?"
            if live:
                raise ConfigError(fault)
            yield _faulty(name, fault)  # as a picture that is broken: the others go on
            return
        second_of = _seconds_here() if live else _seconds_of(capture)
        due = 0.0
        while capture.grab():
            second = second_of()
            if second + 1e-6 < due:
                continue
            due = second + every
            whole, pixels = capture.retrieve()
            if whole:
                yield Source(f"{name}#t={second:.1f}", partial(_from_bgr, pixels), live)
    finally:
        capture.release()


def _seconds_here() -> Callable[[], float]:
    """Return a clock that begins with its first call; not every camera tells the time."""
    start: list[float] = []

    def second() -> float:
        now = time.monotonic()
        start[:] = start or [now]
        return now - start[0]

    return second


def _seconds_of(capture: Any) -> Callable[[], float]:
    """Return what gives the place of the next frame in a video; call it once a frame.

    Where the file or its reader does not tell, the frame's number says it.
    """
    rate = float(capture.get(_RATE))
    rate = rate if math.isfinite(rate) and rate > 0 else _USUAL_RATE
    frames = count()

    def second() -> float:
        number, told = next(frames), capture.get(_MILLISECONDS) / 1000
        return told if told > 0 else number / rate

    return second


def _from_bgr(pixels: Any) -> Image.Image:
    return Image.fromarray(pixels[:, :, ::-1].copy())


def _opencv(name: str) -> Any:
    try:
        import cv2
    except ImportError:
        where = f"picture '{name}'" if Path(name).exists() else f"'{name}'"
        raise ConfigError(
            f"{where} is a video or a camera, which needs OpenCV: pip install"
            " opencv-python-headless"
        ) from None
    return cv2
