"""What follows a table: what one would do next, as commands that can be copied."""

from __future__ import annotations

from pathlib import Path

from loreal_plugin.paths import typed


def next_line(*steps: str) -> str:
    """Return `Next: ...`, several steps with a line for each; empty without steps."""
    if len(steps) < 2:
        return "".join(f"Next: {step}" for step in steps)
    return "\n".join(["Next:", *(f"  {step}" for step in steps)])


def after_run(folder: Path, out: Path | None = None) -> str:
    """Return what follows the table of a run with stage 3.

    Args:
        folder: of the run's record.
        out: OUT, whose report holds all runs; None: it is not known.
    """
    run = typed(folder)
    steps = [f"loreal predict {run} PICTURES", f"loreal explain PICTURES --run {run}"]
    return next_line(*steps, *([f"loreal report {typed(out)}"] if out else []))
