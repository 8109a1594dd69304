"""A sweep's own results.json: its runs, how each ended, the wall time; written after every run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loreal_plugin.results.record import RESULTS, SCHEMA_VERSION, read_record, write_record
from loreal_plugin.sweep.planned_runs import Run

DONE, FAILED, OPEN = "done", "failed", "not started"


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    done: bool
    error: str
    seconds: float


class SweepRecord:
    """Writes `<out>/sweeps/<name>/results.json`.

    Wall time adds up over calls: a sweep that was broken off and went on says what all of it took.
    How a run ended in a call before stands until it ends anew: where this call is broken off, too,
    what is done does not count as not started.
    """

    def __init__(self, folder: Path, name: str, runs: Sequence[Run], jobs: int) -> None:
        self.path = folder / RESULTS
        self._name, self._jobs = name, jobs
        self._start = time.monotonic()
        before, _ = read_record(self.path)
        same = before.get("kind") == "sweep" and before.get("name") == name
        self._earlier = float(before["seconds"]) if same else 0.0
        ended = {one["command"]: one for one in before["runs"]} if same else {}
        self.runs: dict[tuple[str, ...], dict[str, Any]] = {
            run.words: _as_before(run, ended.get(run.command, {})) for run in runs
        }

    def note(self, run: Run, outcome: Outcome) -> None:
        """Write how a run ended."""
        facts = {
            "state": DONE if outcome.done else FAILED,
            "error": outcome.error,
            "seconds": outcome.seconds,
        }
        self.runs[run.words] |= facts
        self.write()

    def write(self) -> None:
        """Write the record, whole or not at all."""
        write_record(
            self.path.parent,
            {
                "schema_version": SCHEMA_VERSION,
                "kind": "sweep",
                "name": self._name,
                "jobs": self._jobs,
                "seconds": self._earlier + time.monotonic() - self._start,
                "done": self.count(DONE),
                "failed": self.count(FAILED),
                "runs": list(self.runs.values()),
            },
        )

    def count(self, state: str) -> int:
        """Return how many runs are in a state."""
        return sum(run["state"] == state for run in self.runs.values())


def _as_before(run: Run, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says of a run until it ends, with how it ended in a call before.

    Args:
        before: what the record of that call says of it; nothing where it does not name it.
    """
    return {
        "command": run.command,
        "title": run.title,
        "state": before.get("state", OPEN),
        "error": before.get("error", ""),
        "seconds": before.get("seconds"),
    }
