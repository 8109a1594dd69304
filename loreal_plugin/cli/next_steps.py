"""The line that follows a table: what one would do next, as commands that can be copied."""

from __future__ import annotations

import shlex
from pathlib import Path


def next_line(*steps: str) -> str:
    """Return `Next: ...` with one step after the other; empty without steps."""
    return f"Next: {'; '.join(steps)}" if steps else ""


def after_run(folder: Path, out: Path | None = None) -> str:
    """Return what follows the table of a run with stage 3.

    Args:
        folder: of the run's record.
        out: OUT, whose report holds all runs; None: it is not known.
    """
    run = typed(folder)
    steps = [f"loreal predict {run} PICTURES", f"loreal explain PICTURES --run {run}"]
    return next_line(*steps, *([f"loreal report {typed(out)}"] if out else []))


def typed(path: Path) -> str:
    """Return a path as one would type it here."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
