"""Progress of long work: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sized
from typing import Any

SECONDS_BETWEEN_LINES = 20.0


def progress(
    work: Any, what: str = "testing, batch", every: float = SECONDS_BETWEEN_LINES
) -> Iterator[Any]:
    """Yield the items of `work` and show progress; off a terminal, a line every `every` seconds."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(work, desc=what)
        return
    total = len(work) if isinstance(work, Sized) else "?"
    last = time.monotonic()
    for number, item in enumerate(work, start=1):
        yield item
        if time.monotonic() - last >= every:
            last = time.monotonic()
            print(f"{what} [{number}/{total}]", flush=True)
