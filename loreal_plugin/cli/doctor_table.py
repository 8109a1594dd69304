"""One line of the doctor's table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loreal_plugin.errors import LorealError, one_line


@dataclass(frozen=True)
class Finding:
    """What was looked for and what was found; `needed` says whether a run can start without it."""

    what: str
    found: str
    ok: bool
    needed: bool = True

    @property
    def mark(self) -> str:
        """Return `ok`, `MISSING` or, for what a run can do without, `-`."""
        return "ok" if self.ok else ("MISSING" if self.needed else "-")


def tried(what: str, call: Callable[[], str], *, needed: bool = True) -> Finding:
    """Return what `call` finds, or the reason why it finds nothing."""
    try:
        return Finding(what, call(), True, needed)
    except (LorealError, OSError, ImportError, ValueError) as error:
        return Finding(what, one_line(error), False, needed)


def print_table(rows: list[Finding]) -> list[str]:
    """Print the lines, return what is missing; without tabulate, which may be what is missing."""
    width = max(len(row.what) for row in rows)
    for row in rows:
        print(f"{row.mark:<8} {row.what:<{width}}  {row.found}")
    return [row.what for row in rows if row.needed and not row.ok]
