"""One line of the doctor's table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loreal_plugin.errors import LorealError, one_line
from loreal_plugin.plain_output import counted

MOST = 18  # lines in brief; two more follow


@dataclass(frozen=True)
class Finding:
    """What was looked for and what was found; `needed`: a run cannot start without it; `detail`:
    shown by --verbose, or where it is missing; `classes`: names of a dataset's classes.
    """

    what: str
    found: str
    ok: bool
    needed: bool = True
    detail: bool = False
    classes: tuple[str, ...] = ()

    @property
    def mark(self) -> str:
        """Return `ok`, `MISSING` or, for what a run can do without, `-`."""
        return "ok" if self.ok else ("MISSING" if self.needed else "-")


def tried(what: str, call: Callable[[], str], *, detail: bool = False) -> Finding:
    """Return what `call` finds, or the reason why it finds nothing."""
    try:
        return Finding(what, call(), True, detail=detail)
    except (LorealError, OSError, ImportError, ValueError) as error:
        return Finding(what, one_line(error), False, detail=detail)


def in_brief(rows: list[Finding]) -> list[Finding]:
    """Return the rows without details; what is missing always stays, and stands first where there
    are too many.
    """
    shown = [row for row in rows if not row.detail or row.mark == "MISSING"]
    if len(shown) > MOST:
        shown = sorted(shown, key=lambda row: row.mark != "MISSING")[:MOST]
    return shown


def print_table(rows: list[Finding], *, verbose: bool = True) -> list[str]:
    """Print the lines, return what is missing; without tabulate, which may be what is missing."""
    shown = rows if verbose else in_brief(rows)
    width = max(len(row.what) for row in shown)
    for row in shown:
        print(f"{row.mark:<8} {row.what:<{width}}  {row.found}")
    if len(rows) > len(shown):
        print(f"({counted(len(rows) - len(shown), 'more line')} with --verbose)")
    return [row.what for row in rows if row.needed and not row.ok]
