"""The time that is left for a whole run, from the seconds of what of it is done.

Each part (a stage, the tests of a row) is so much work: any unit will do, as long as all parts have
the same. The parts that ran here say how many seconds a unit of work takes. Of the part that runs,
its own pace from its first batch on counts more and more: what comes before that batch (models,
caches) comes once. The work is a rule of thumb, so times are said "about".
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

_LINE = re.compile(r"epoch \[(\d+)/(\d+)\]\s+batch \[(\d+)/(\d+)\](?:.*?loss ([\d.eE+-]+))?")
_SOON = 10.0  # seconds below which nothing is said
_KNOWN = 0.25  # share of a part after which its own pace alone counts


class TimeLeft:
    """Tells how long a run will still take.

    Args:
        work: of each part, in the order in which they run; any unit.
        now: gives the seconds of a clock.
    """

    def __init__(self, work: dict[str, float], now: Callable[[], float] = time.monotonic) -> None:
        self._open, self._now = dict(work), now
        self._work, self._seconds = 0.0, 0.0  # of what ran here
        # Of the part that runs. Shares are of its work: done before it began here, and done now.
        self._part, self._began, self._first, self._share = "", 0.0, 0.0, 0.0
        self._seen, self._seen_share = 0.0, 0.0  # when its first line came, and its share then
        self._number, self._count = 0, 0

    def begin(self, part: str, number: int = 0, count: int = 0) -> None:
        """Note that a part begins; of stages also which one it is, of how many."""
        self._part, self._began, self._number, self._count = part, self._now(), number, count
        self._first = self._share = self._seen_share = -1.0

    def end(self, *, ran: bool) -> None:
        """Note that the part has ended; what was complete before says nothing about the pace."""
        work = self._open.pop(self._part, 0.0)
        if ran:
            self._work += work * (1 - max(self._first, 0.0))
            self._seconds += self._now() - self._began
        self._part = ""

    def left(self) -> float | None:
        """Return the seconds left for the whole run, None where no part gives a pace yet."""
        later = sum(work for part, work in self._open.items() if part != self._part)
        of_part, work, seconds = 0.0, self._work, self._seconds
        if self._part in self._open:
            whole, done = self._open[self._part], self._share - self._seen_share
            # seconds of the whole part: at the pace of the parts before, and at its own
            before = whole * seconds / work if work else None
            own = (self._now() - self._seen) / done if done > 0 else before
            if own is None:
                return None
            trust = min(1.0, done / _KNOWN) if before is not None else 1.0
            of_part = (trust * own + (1 - trust) * (before or 0.0)) * (1 - max(self._share, 0.0))
            work, seconds = work + whole * done, seconds + own * done
        return of_part + later * seconds / work if work else None

    def words(self) -> str:
        """Return the time left in words, to put behind a line; empty where it is short."""
        left = self.left()
        return f"; {about(left)} left for the whole run" if left and left >= _SOON else ""

    def line(self, text: str) -> str:
        """Return a host's line on a batch in our words, with the time left; others as they are."""
        found = _LINE.match(text)
        if not found or self._part not in self._open:
            return text
        epoch, epochs, batch, batches = map(int, found.groups()[:4])
        share = (epoch - 1 + batch / max(batches, 1)) / max(epochs, 1)
        if self._first < 0:
            # a stage that goes on begins with the epoch after the last one that was saved
            self._first = (epoch - 1) / max(epochs, 1)
            self._seen, self._seen_share = self._now(), share
        self._share = share
        stage = f"stage {self._number}/{self._count}, " if self._count else ""
        loss = f", loss {found[5]}" if found[5] else ""
        return f"{stage}epoch {epoch}/{epochs}, batch {batch}/{batches}{loss}{self.words()}"


def about(seconds: float) -> str:
    """Return a time in words, as exact as it deserves."""
    if seconds < 90:
        return f"about {max(round(seconds / 5) * 5, 5)} s"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 90 else f"about {minutes / 60:.1f} h"
