"""One sweep from plan to report: what is to be made, how long it takes, one line a run, the page at
the end.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from loreal_plugin.errors import LorealError
from loreal_plugin.results.reader import (
    Evidence,
    collect,
    read_record,
    set_aside,
    setting_of,
)
from loreal_plugin.results.record import RESULTS
from loreal_plugin.sweep.estimate import Estimate, clock, estimate, finished
from loreal_plugin.sweep.local import run_local
from loreal_plugin.sweep.plan_file import PlanFile
from loreal_plugin.sweep.planned_runs import Place, Run, expand
from loreal_plugin.sweep.sweep_record import DONE, FAILED, OPEN, Outcome, SweepRecord

Say = Callable[[str], None]


@dataclass(frozen=True)
class Ended:
    """How a sweep ended: runs done, failed and never started, and whether the page could average
    everything.
    """

    done: int
    failed: int
    open: int
    refused: int = 0


def known_evidence(out: Path) -> Evidence | None:
    """Return what is below the output folder, None where there is nothing yet."""
    try:
        return collect(out)
    except LorealError:
        return None


def describe(
    plan: PlanFile, runs: Sequence[Run], evidence: Evidence | None, jobs: int
) -> list[str]:
    """Return the plan as lines: each run with its state and estimate, then the sum."""
    lines, estimates = [], estimate(runs, evidence)
    for number, (run, guess) in enumerate(zip(runs, estimates, strict=True), start=1):
        lines.append(f"[{number}/{len(runs)}] {_guess_text(guess):>10}  {run.command}")
    return [
        *lines,
        "",
        summary(plan, runs, evidence, estimates, jobs),
        *_whole(runs, evidence, jobs),
    ]


def _whole(runs: Sequence[Run], evidence: Evidence | None, jobs: int) -> list[str]:
    """Return a line with the time of the plan from nothing, none where a run's time is not known."""
    known = [
        guess.seconds for guess in estimate(runs, evidence, anew=True) if guess.seconds is not None
    ]
    if not known or len(known) < len(runs):
        return []
    whole, each = clock(sum(known)), clock(sum(known) / max(1, jobs))
    text = f"from nothing: {whole} of processes, {each} with {jobs} at a time"
    return [f"{text} (stages that runs share count once)"]


def _guess_text(guess: Estimate) -> str:
    if guess.seconds is None:
        return "?"
    return (
        "is there" if guess.seconds == 0 else f"{'~' if guess.rough else ''}{clock(guess.seconds)}"
    )


def summary(
    plan: PlanFile,
    runs: Sequence[Run],
    evidence: Evidence | None,
    estimates: Sequence[Estimate],
    jobs: int,
) -> str:
    """Return how many runs there are and how long the missing ones take."""
    there = sum(finished(run, evidence) for run in runs)
    known = [e.seconds for e in estimates if e.seconds is not None]
    unknown = len(estimates) - len(known)
    text = f"plan {plan.name}: {len(runs)} runs, {there} are there, {len(runs) - there} to make"
    if len(runs) == there:
        return text
    if len(known) - there > 0:
        text += (
            f", about {clock(sum(known) / max(1, jobs))} with {jobs} at a time (from runs that have"
            " ended)"
        )
    return text + (f"; no finished run tells the time of {unknown} of them" if unknown else "")


def sweep(
    plan: PlanFile,
    place: Place,
    *,
    jobs: int = 1,
    slurm: dict[str, Any] | None = None,
    report: bool = True,
    say: Say = print,
) -> Ended:
    """Make every run of a plan, whatever happens to single ones, then write the report.

    Complete runs are asked, too: only a run's own key tells whether it is still valid, which takes
    a second.

    Raises:
        LorealError: a plan that cannot be run, or another sweep of this name at work.
    """
    runs = expand(plan, place)
    folder = place.out / "sweeps" / plan.name
    with _alone(folder):
        evidence = known_evidence(place.out)
        say(summary(plan, runs, evidence, estimate(runs, evidence), jobs))
        record = SweepRecord(folder, plan.name, runs, jobs)
        record.write()
        progress = _Progress(runs, evidence, place.out, record, jobs, say)
        logs = log_files(folder, runs)
        try:
            if slurm is None:
                run_local(runs, logs.__getitem__, jobs, progress.ended)
            else:
                from loreal_plugin.sweep.slurm import run_slurm

                run_slurm(runs, logs.__getitem__, folder / "slurm", slurm, jobs, progress.ended)
        finally:
            record.write()
    counts = [record.count(state) for state in (DONE, FAILED, OPEN)]
    say(f"{counts[0]} runs done, {counts[1]} failed, {clock(time.monotonic() - progress.start)}")
    refused = _report(place.out, say) if report and counts[0] else 0
    return Ended(*counts, refused)


def log_files(folder: Path, runs: Sequence[Run]) -> dict[Run, Path]:
    """Return each run's log file, by its number and title."""
    width = len(str(len(runs)))
    return {
        run: (
            folder
            / "logs"
            / f"{number:0{width}d}_{re.sub(r'[^A-Za-z0-9.]+', '_', run.title).strip('_')}.txt"
        )
        for number, run in enumerate(runs, start=1)
    }


class _alone:
    """Context manager: this sweep is the only one of its name in the output folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(str(self._folder / ".lock"))
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise LorealError(
                f"another sweep '{self._folder.name}' is at work in {self._folder}; wait for it, or"
                " give the plan another name"
            ) from error
        except OSError as error:
            reason = error.strerror or error
            raise LorealError(
                f"cannot write {self._folder}: {reason}; set OUT to a folder you may write"
            ) from error

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class _Progress:
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
        self._total, self._out, self._record, self._jobs, self._say = (
            len(runs),
            out,
            record,
            jobs,
            say,
        )
        self._before = {run: finished(run, evidence) for run in runs}
        self._left = dict(zip(runs, estimate(runs, evidence), strict=True))
        self._took: list[float] = []
        self._ended = 0
        self.start = time.monotonic()

    def ended(self, run: Run, outcome: Outcome) -> None:
        """Take the end of a run."""
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
        """Return how long the rest takes: estimates where there are any, else the mean of what was
        made.
        """
        mean = statistics.fmean(self._took) if self._took else None
        rest = [mean if guess.seconds is None else guess.seconds for guess in self._left.values()]
        if not rest or any(seconds is None for seconds in rest):
            return ""
        return f", about {clock(sum(rest) / self._jobs)} left" if sum(rest) else ""


def result_text(out: Path, run: Run) -> str:
    """Return the accuracy of the host at phi and with LOREAL of a run that has ended, as words for
    its line.
    """
    if run.rivals or run.protocol == "zero_shot":
        return ""
    rows: dict[str, dict[str, Any]] = {}
    for path in out.glob(f"*/**/phi{run.spec.phi}/*/seed{run.seed}/{RESULTS}"):
        record = {} if set_aside(path) else read_record(path)[0]
        if record.get("rows") and record["kind"] != "rivals" and setting_of(record) == run.setting:
            rows |= {row["name"]: row for row in record["rows"]}
    scores = {name: row.get("hm", row.get("average")) for name, row in rows.items()}
    host, ours = scores.get("phi"), scores.get("loreal")
    if host is None or ours is None:
        return "" if host is None else f"host {host:.2f}, "
    return f"host {host:.2f}, + LOREAL {ours:.2f} ({ours - host:+.2f}), "


def _report(out: Path, say: Say) -> int:
    """Write the page; return how many rows could not be averaged. A fault of the page is no fault
    of the runs.
    """
    from loreal_plugin.results.write_report import write_report

    written = write_report(out)
    for path in written.files:
        say(f"written: {path}")
    for refusal in written.refusals:
        say(f"not averaged: {refusal}")
    return len(written.refusals)
