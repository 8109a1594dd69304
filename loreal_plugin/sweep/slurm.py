"""A sweep as a SLURM array through submitit: one task a family of runs, which share stages."""

from __future__ import annotations

import importlib
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from loreal_plugin.devices import VARIABLE, use_one_device
from loreal_plugin.errors import ConfigError, LorealError
from loreal_plugin.sweep.local import OnEnd
from loreal_plugin.sweep.planned_runs import Run
from loreal_plugin.sweep.sweep_record import Outcome
from loreal_plugin.sweep.worker import WORKER_MODULE, run_logged

POLL = 5.0
GONE = 3  # polls in a row without a task, after which its result will not come any more


def parse_settings(words: Sequence[str]) -> dict[str, Any]:
    """Return `key=value` words as submitit's parameters, e.g.
    `timeout_min=240 slurm_partition=gpu gpus_per_node=1`.

    Raises:
        ConfigError: a word of another form.
    """
    settings: dict[str, Any] = {}
    for word in words:
        key, found, value = word.partition("=")
        if not found or not key.isidentifier() or not value:
            raise ConfigError(
                f"--slurm takes key=value words of submitit, such as timeout_min=240, not '{word}'"
            )
        settings[key] = int(value) if value.isdigit() else value
    return settings


def families(runs: Sequence[Run]) -> list[list[Run]]:
    """Return the runs in lists that share no stage; a list is for one kind of process."""
    found: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        found.setdefault((*run.family, *run.process), []).append(run)
    return list(found.values())


class Family:
    """Makes the runs of a family; at its time limit the task is queued again and goes on."""

    def __call__(
        self, tasks: Sequence[tuple[Sequence[str], str]], env: dict[str, str]
    ) -> list[tuple[int, str, float]]:
        """Make runs one after another here; return exit code, error line and seconds of each.

        Args:
            tasks: words of the command line and log file of each run.
            env: variables that the submitting process had.
        """
        os.environ.update(env)
        use_one_device()  # a process of its own, as each command is
        main = importlib.import_module(WORKER_MODULE).main
        outcomes = []
        for words, log in tasks:
            start = time.monotonic()
            code, error = run_logged(main, words, Path(log))
            outcomes.append((code, error, time.monotonic() - start))
        return outcomes

    def checkpoint(self, tasks: Sequence[tuple[Sequence[str], str]], env: dict[str, str]) -> Any:
        """Return the task that is queued again: the same, as runs go on where they were."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, tasks, env)


def queued() -> set[str] | None:
    """Return the ids of this user's tasks that SLURM still has; None where it does not say.

    Without accounting (`sacct`) this is the only one to tell that a task has died.
    """
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return set(done.stdout.split())


def run_slurm(
    runs: Sequence[Run],
    logs: Callable[[Run], Path],
    folder: Path,
    settings: dict[str, Any],
    jobs: int,
    on_end: OnEnd,
    poll: float = POLL,
) -> None:
    """Submit the families as one array, at most `jobs` tasks at a time, and wait for every task.

    Interrupting the wait leaves the tasks running; the same sweep started later skips what they
    have finished.

    Args:
        settings: submitit's parameters; `cluster` chooses another engine than slurm (`local`:
            processes here).

    Raises:
        LorealError: submitit is not installed, there is no SLURM here, or it refuses the settings.
    """
    try:
        import submitit
    except ImportError as error:
        raise LorealError("--slurm needs submitit; install loreal-plugin[slurm]") from error
    rest = dict(settings)
    cluster = rest.pop("cluster", "slurm")
    env = {
        name: os.environ[name]
        for name in ("LOREAL_CACHE", VARIABLE, "DASSL", "OMP_NUM_THREADS")
        if name in os.environ
    }
    groups = families(runs)
    try:
        executor = submitit.AutoExecutor(folder=str(folder), cluster=cluster)
        if cluster == "slurm":
            rest = {"slurm_array_parallelism": jobs, **rest}
        executor.update_parameters(**rest)
        work = [[(list(run.words), str(logs(run))) for run in group] for group in groups]
        submitted = executor.map_array(Family(), work, [env] * len(work))
    except (RuntimeError, ValueError, TypeError, NameError, OSError) as error:
        raise LorealError(
            f"submitit cannot submit to '{cluster}': {' '.join(str(error).split())}"
        ) from error
    _wait(dict(zip(submitted, groups, strict=True)), on_end, poll, slurm=cluster == "slurm")


def _wait(waiting: dict[Any, list[Run]], on_end: OnEnd, poll: float, *, slurm: bool) -> None:
    """Report every task when it has ended, or when SLURM has it no longer."""
    missed = dict.fromkeys(waiting, 0)
    while waiting:
        for job in [job for job in waiting if job.done()]:
            _report(job, waiting.pop(job), on_end)
        there = queued() if slurm and waiting else None
        for job in list(waiting if there is not None else ()):
            missed[job] = 0 if job.job_id in (there or ()) else missed[job] + 1
            if missed[job] >= GONE and not job.done():
                text = f"task {job.job_id} ended without a result: SLURM has it no longer"
                for run in waiting.pop(job):
                    on_end(run, Outcome(False, text, 0.0))
        if waiting:
            time.sleep(poll)


def _report(job: Any, runs: Sequence[Run], on_end: OnEnd) -> None:
    """Tell how each run of a task ended; a task that died is the failure of all its runs."""
    try:
        outcomes = job.result()
    except Exception as error:
        # submitit raises its own classes for timeouts, lost tasks and unpicklable results; all mean
        # the same here
        text = " ".join(str(error).split())[-300:]
        outcomes = [(1, f"task {job.job_id} ended without a result: {text}", 0.0) for _ in runs]
    for run, (code, error, seconds) in zip(runs, outcomes, strict=True):
        on_end(run, Outcome(code == 0, error, seconds))
