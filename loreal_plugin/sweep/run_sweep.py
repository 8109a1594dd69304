"""A sweep from its plan to its report: what is to be made, the runs, the page at the end."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout

from loreal_plugin.errors import LorealError
from loreal_plugin.files.locks import shared_lock
from loreal_plugin.plain_output import Say, counted
from loreal_plugin.results.protocols import PROTOCOLS
from loreal_plugin.results.reader import Evidence, collect
from loreal_plugin.sweep.estimate import Estimate, clock, estimate, finished
from loreal_plugin.sweep.local import run_local
from loreal_plugin.sweep.plan_file import PlanFile
from loreal_plugin.sweep.planned_runs import Locations, Run, expand
from loreal_plugin.sweep.progress import Progress
from loreal_plugin.sweep.sweep_record import DONE, FAILED, OPEN, Outcome, SweepRecord


@dataclass(frozen=True)
class SweepOutcome:
    """How a sweep ended.

    Attributes:
        done, failed, open: number of runs that ended well, that failed, that never started.
        refused: number of rows that the page could not average.
    """

    done: int
    failed: int
    open: int
    refused: int = 0


def known_evidence(out: Path) -> Evidence | None:
    """Return the results below the output folder, None where there are none yet."""
    try:
        return collect(out)
    except LorealError:
        return None


def describe(
    plan: PlanFile,
    runs: Sequence[Run],
    evidence: Evidence | None,
    jobs: int,
    *,
    each: bool = True,
) -> list[str]:
    """Return the plan as lines: runs with their state and estimate, then the sum.

    Args:
        each: a line a run; else a line for runs that differ in method, dataset and seed alone, with
            the command of the first.
    """
    estimates = estimate(runs, evidence)
    lines = [
        f"[{number}/{len(runs)}] {_guess_text(guess):>10}  {run.command}"
        for number, (run, guess) in enumerate(zip(runs, estimates, strict=True), start=1)
    ]
    return [
        *(lines if each else grouped(runs, estimates)),
        "",
        summary(plan, runs, evidence, estimates, jobs),
        *_time_from_nothing(runs, evidence, jobs),
    ]


def kind_of(run: Run) -> tuple[object, ...]:
    """Return what runs of one line of a summary have in common."""
    return run.protocol, run.spec.phi, run.spec.shots, run.variant, run.until


def grouped(runs: Sequence[Run], estimates: Sequence[Estimate]) -> list[str]:
    """Return two lines for runs that differ in method, dataset and seed alone."""
    members: dict[tuple[object, ...], list[tuple[Run, Estimate]]] = {}
    for run, guess in zip(runs, estimates, strict=True):
        members.setdefault(kind_of(run), []).append((run, guess))
    lines = []
    for found in members.values():
        lines += [
            f"{len(found):>4} run{'s' * (len(found) != 1)}: {title_of([run for run, _ in found])}"
        ]
        seconds = [guess.seconds for _, guess in found if guess.seconds is not None]
        there = sum(s == 0 for s in seconds)
        rest = "?" if len(seconds) < len(found) else clock(sum(seconds))
        lines += [f"           {there} there, the others {rest}; first: {found[0][0].command}"]
    return lines


def title_of(runs: Sequence[Run]) -> str:
    """Return in words what runs of one kind are."""
    first = runs[0]
    names = {
        name: list(dict.fromkeys(str(getattr(run.spec, name)) for run in runs))
        for name in ("method", "dataset", "seed")
    }
    datasets = names["dataset"] if len(names["dataset"]) < 4 else [f"{len(names['dataset'])} sets"]
    shots = f", {first.spec.shots} shots" if PROTOCOLS[first.table].shots else ""
    words = [first.protocol, f"phi {first.spec.phi}{shots},", " ".join(names["method"]) + ","]
    words += [f"{' '.join(datasets)}, seeds {' '.join(names['seed'])}"]
    return " ".join([*words, *([f"[{first.variant}]"] if first.variant else [])])


def _time_from_nothing(runs: Sequence[Run], evidence: Evidence | None, jobs: int) -> list[str]:
    """Return a line with the time of the whole plan, none where a run's time is not known."""
    estimates = estimate(runs, evidence, from_nothing=True)
    known = [guess.seconds for guess in estimates if guess.seconds is not None]
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
    text = (
        f"plan {plan.name}: {counted(len(runs), 'run')}, {there} are there,"
        f" {len(runs) - there} to make"
    )
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
    locations: Locations,
    *,
    jobs: int = 1,
    slurm: dict[str, Any] | None = None,
    gpus: Sequence[str] = (),
    report: bool = True,
    say: Say = print,
) -> SweepOutcome:
    """Make every run of a plan, whatever happens to single ones, then write the report.

    Finished runs are started, too: only a run's own key tells whether its results are still valid.
    That takes a second. With SLURM they are not, as each would take an allocation.

    Args:
        gpus: CUDA devices that processes take turns over; empty: those that are visible.

    Raises:
        LorealError: a plan that cannot be run, or another sweep of this name at work.
    """
    runs = expand(plan, locations)
    folder = locations.out / "sweeps" / plan.name
    with _only_one(folder):
        evidence = known_evidence(locations.out)
        say(summary(plan, runs, evidence, estimate(runs, evidence), jobs))
        record = SweepRecord(folder, plan.name, runs, jobs)
        record.write()
        progress = Progress(runs, evidence, locations.out, record, jobs, say)
        logs = log_files(folder, runs)
        try:
            if slurm is None:
                run_local(runs, logs.__getitem__, jobs, progress.ended, gpus)
            else:
                from loreal_plugin.sweep.slurm import run_slurm

                there = [run for run in runs if finished(run, evidence)]
                for run in there:  # an allocation is not asked for what is complete
                    progress.ended(run, Outcome(True, "", 0.0))
                wanted = [run for run in runs if run not in there]
                if wanted:
                    where = folder / "slurm"
                    run_slurm(wanted, logs.__getitem__, where, slurm, jobs, progress.ended)
        finally:
            record.write()
    counts = [record.count(state) for state in (DONE, FAILED, OPEN)]
    took = clock(time.monotonic() - progress.start)
    say(f"{counted(counts[0], 'run')} done, {counts[1]} failed, {took}")
    refused = _report(locations.out, say) if report and counts[0] else 0
    return SweepOutcome(*counts, refused)


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


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the lock of a sweep, so that it is the only one of its name in the output folder.

    Raises:
        LorealError: another one holds it, or the folder cannot be written.
    """
    lock = shared_lock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LorealError(
            f"another sweep '{folder.name}' is at work in {folder}; wait for it, or give the plan"
            " another name"
        ) from error
    except OSError as error:
        reason = error.strerror or error
        raise LorealError(
            f"cannot write {folder}: {reason}; set OUT to a folder you may write"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _report(out: Path, say: Say) -> int:
    """Write the page and return how many rows it could not average."""
    from loreal_plugin.results.write_report import write_report

    written = write_report(out)
    for path in written.files:
        say(f"written: {path}")
    for refusal in written.refusals:
        say(f"not averaged: {refusal}")
    return len(written.refusals)
