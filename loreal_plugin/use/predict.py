"""Naming many pictures: read by several threads while the model runs, answered in their order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from loreal_plugin.errors import DataError, one_line
from loreal_plugin.use.models import Model
from loreal_plugin.use.sources import Source


@dataclass(frozen=True)
class Answered:
    """A picture with its classes, the most probable first, or with what is wrong with it."""

    name: str
    classes: Sequence[Any]
    fault: str = ""


@dataclass
class Tally:
    """What was done: pictures that were named, pictures that could not be read, seconds.

    Attributes:
        model: seconds of the model alone.
        wall: from the first picture to the last.
    """

    named: int = 0
    broken: int = 0
    model: float = 0.0
    wall: float = 0.0

    def text(self) -> str:
        """Return one line."""
        broken = f"{self.broken:,} could not be read" if self.broken else ""
        if not self.named:
            return f"no picture was named; {broken}" if broken else "no picture was named"
        count = f"{self.named:,} picture{'' if self.named == 1 else 's'}"
        found = (
            f"{count} in {self.wall:.1f} s ({1000 * self.wall / self.named:.1f} ms a picture, of it"
            f" {1000 * self.model / self.named:.1f} ms the model)"
        )
        return f"{found}; {broken}" if broken else found


def answers(
    model: Model,
    sources: Iterable[Source],
    tally: Tally,
    *,
    top: int = 5,
    batch: int = 32,
    readers: int = 2,
) -> Iterator[Answered]:
    """Yield every picture with its classes, in order; what cannot be read does not stop the others.

    Args:
        tally: filled while it runs.
        top: classes a picture.
        batch: pictures that run at once; no prediction depends on it.
        readers: threads that decode and resize.
    """
    began = time.perf_counter()
    pool = ThreadPoolExecutor(readers)
    try:
        rest = iter(sources)
        waiting: deque[tuple[str, Future[Any]]] = deque()
        while True:
            missing = 2 * batch - len(waiting)
            for source in islice(rest, missing):
                waiting.append((source.name, pool.submit(_read, model, source)))
                if source.live:
                    break
            if not waiting:
                return
            part = [waiting.popleft() for _ in range(min(batch, len(waiting)))]
            yield from _answered(model, [(name, job.result()) for name, job in part], top, tally)
            tally.wall = time.perf_counter() - began
    finally:
        pool.shutdown(cancel_futures=True)


def _read(model: Model, source: Source) -> Any:
    """Return a picture as the model reads it, or the DataError that says why it cannot."""
    try:
        return model.pixels(source.read())
    except DataError as error:
        return error


def _answered(
    model: Model, read: list[tuple[str, Any]], top: int, tally: Tally
) -> Iterator[Answered]:
    """Yield the pictures of one batch."""
    good = [pixels for _, pixels in read if not isinstance(pixels, DataError)]
    began = time.perf_counter()
    found = iter(model.best(good, top) if good else ())
    tally.model += time.perf_counter() - began
    tally.named += len(good)
    tally.broken += len(read) - len(good)
    for name, pixels in read:
        if isinstance(pixels, DataError):
            yield Answered(name, (), one_line(pixels))
        else:
            yield Answered(name, next(found))
