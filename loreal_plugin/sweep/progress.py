"""What a sweep says while it runs: one line for each run that ends, with the time that is left."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from loreal_plugin.plain_output import Say
from loreal_plugin.results.reader import Evidence, is_set_aside, setting_of
from loreal_plugin.results.record import RESULTS, read_record
from loreal_plugin.results.run import run_of
from loreal_plugin.sweep.estimate import clock, estimate, finished
from loreal_plugin.sweep.planned_runs import Run
from loreal_plugin.sweep.sweep_record import Outcome, SweepRecord


class Progress:
    """Writes the record and says one line for each run that ends."""

    def __init__(
        self,
        runs: Sequence[Run],
        evidence: Evidence | None,
        out: Path,
        record: SweepRecord,
        jobs: int,
        say: Say,
    ) -> None:
        self._total, self._out, self._record = len(runs), out, record
        self._jobs, self._say = jobs, say
        self._before = {run: finished(run, evidence) for run in runs}
        self._left = dict(zip(runs, estimate(runs, evidence), strict=True))
        self._took: list[float] = []
        self._ended = 0
        self.start = time.monotonic()

    def ended(self, run: Run, outcome: Outcome) -> None:
        """Note that a run has ended, and say how."""
        self._record.note(run, outcome)
        self._ended += 1
        self._left.pop(run)
        if not self._before[run]:
            self._took.append(outcome.seconds)
        width = len(str(self._total))
        head = f"[{self._ended:>{width}}/{self._total}] {run.title}"
        if not outcome.done:
            self._say(f"{head}: FAILED after {clock(outcome.seconds)}: {outcome.error}")
            return
        state = (
            "was there" if self._before[run] and outcome.seconds < 60 else clock(outcome.seconds)
        )
        self._say(f"{head}: {result_text(self._out, run)}{state}{self._rest()}")

    def _rest(self) -> str:
        """Return how long the rest takes: by estimates, else by the mean of what was made."""
        mean = statistics.fmean(self._took) if self._took else None
        rest = [mean if guess.seconds is None else guess.seconds for guess in self._left.values()]
        if not rest or any(seconds is None for seconds in rest):
            return ""
        return f", about {clock(sum(rest) / self._jobs)} left" if sum(rest) else ""


def result_text(out: Path, run: Run) -> str:
    """Return the accuracies of the host at phi and with LOREAL, as words for a run's line."""
    if run.rivals or not run.trained:
        return ""
    scores: dict[str, float] = {}
    for path in out.glob(f"*/**/phi{run.spec.phi}/*/seed{run.seed}/{RESULTS}"):
        record = {} if is_set_aside(path) else read_record(path)[0]
        if not record.get("rows"):
            continue
        found = run_of(record)
        if not found.rivals and setting_of(found) == run.setting:
            scores |= found.summaries()
    host, ours = scores.get("phi"), scores.get("loreal")
    if host is None or ours is None:
        return "" if host is None else f"host {host:.2f}, "
    return f"host {host:.2f}, + LOREAL {ours:.2f} ({ours - host:+.2f}), "
