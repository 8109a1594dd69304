"""Many pictures: decoded and resized by several threads while the encoder runs.

Pillow and onnxruntime let go of Python's lock, so that threads are enough.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loreal_plugin.edge.package import Package
from loreal_plugin.edge.pixels import read_rgb, to_pixels
from loreal_plugin.errors import DataError
from loreal_plugin.files.listing import PICTURE_ENDINGS, pictures_below


@dataclass
class Timings:
    """Where the time of many pictures went, seconds of all threads together.

    Attributes:
        decode, resize: of the threads that read.
        encode: encoder and head.
        wall: from the first picture to the last.
    """

    decode: float = 0.0
    resize: float = 0.0
    encode: float = 0.0
    wall: float = 0.0
    pictures: int = 0

    def text(self) -> str:
        """Return one line: throughput, and the share of each part."""
        whole = max(self.decode + self.resize + self.encode, 1e-9)
        parts = ", ".join(
            f"{name} {100 * getattr(self, name) / whole:.0f} %"
            for name in ("decode", "resize", "encode")
        )
        speed = self.pictures / max(self.wall, 1e-9)
        alone = self.pictures / max(self.encode, 1e-9)
        pictures = f"{self.pictures} picture{'s' * (self.pictures != 1)}"
        return f"{pictures}, {speed:.0f} a second (encoder alone {alone:.0f}); of the work: {parts}"


def files_in(words: Iterable[str]) -> list[Path]:
    """Return files, and the pictures of folders (`listing.pictures_below`), in order.

    Raises:
        DataError: a folder has no picture.
    """
    found: list[Path] = []
    for word in words:
        path = Path(word)
        if not path.is_dir():
            found.append(path)
            continue
        inside = [Path(picture) for picture in pictures_below(path)]
        if not inside:
            raise DataError(f"{path} has no picture ({', '.join(PICTURE_ENDINGS)})")
        found += inside
    return found


def stream(
    package: Package, paths: Iterable[Path], timings: Timings, *, readers: int = 2, batch: int = 16
) -> Iterator[tuple[Path, np.ndarray | DataError]]:
    """Yield each picture with its logits (C,), or with what is wrong with it, in order.

    Args:
        timings: filled while it runs.
        readers: threads that decode and resize.
        batch: pictures that run at once; no prediction depends on it.
    """
    began = time.perf_counter()
    with ThreadPoolExecutor(readers) as pool:
        waiting: deque[tuple[Path, Future[Any]]] = deque()
        ahead = 4 * batch  # pictures that are kept ready
        rest = iter(paths)

        def refill() -> None:
            while len(waiting) < ahead and (path := next(rest, None)) is not None:
                waiting.append((path, pool.submit(_read, package, path)))

        refill()
        while waiting:
            part = [waiting.popleft() for _ in range(min(batch, len(waiting)))]
            refill()
            yield from _run(package, [(path, job.result()) for path, job in part], timings)
            timings.wall = time.perf_counter() - began


def _read(package: Package, path: Path) -> tuple[np.ndarray, float, float] | DataError:
    """Return pixels, and the seconds of decoding and of resizing."""
    try:
        first = _clock()
        picture = read_rgb(path)
        second = _clock()
        pixels = to_pixels(picture, package.manifest["picture"])
        return pixels, second - first, _clock() - second
    except DataError as error:
        return error


def _run(
    package: Package, read: list[tuple[Path, Any]], timings: Timings
) -> Iterator[tuple[Path, np.ndarray | DataError]]:
    good = [one for _, one in read if not isinstance(one, DataError)]
    logits: Iterator[np.ndarray] = iter(())
    if good:
        began = time.perf_counter()
        logits = iter(package.logits(np.stack([pixels for pixels, _, _ in good])))
        timings.encode += time.perf_counter() - began
        timings.decode += sum(decode for _, decode, _ in good)
        timings.resize += sum(resize for _, _, resize in good)
        timings.pictures += len(good)
    for path, one in read:
        yield path, one if isinstance(one, DataError) else next(logits)


# a thread's own processor time: waiting for a turn is no work
_clock: Callable[[], float] = getattr(time, "thread_time", time.perf_counter)
