"""Runs of a sweep on this machine, N at a time; processes are used again for the same host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from loreal_plugin.devices import VARIABLE, VISIBLE, visible_devices
from loreal_plugin.sweep.planned_runs import Run
from loreal_plugin.sweep.sweep_record import Outcome
from loreal_plugin.sweep.worker import WORKER_MODULE, last_error

THREADS = "OMP_NUM_THREADS"
OnEnd = Callable[[Run, Outcome], None]


class Worker:
    """A process that makes runs; replaced when it has died or is for another kind of run."""

    def __init__(self, number: int = 0, gpus: Sequence[str] = (), workers: int = 1) -> None:
        self._device = device_of(number, gpus) | threads_of(workers)
        self._process: subprocess.Popen[str] | None = None
        self._kind: tuple[str, ...] = ()  # of runs that the process is for

    def run(self, run: Run, log: Path) -> tuple[int, str]:
        """Return exit code and error line of a run; if its process dies, the run has failed."""
        if self._process is None or self._process.poll() is not None or self._kind != run.process:
            self.stop()
            self._start(run.process, log)
        process = self._process
        try:
            process.stdin.write(json.dumps({"words": run.words, "log": str(log)}) + "\n")
            process.stdin.flush()
            reply = process.stdout.readline()
        except (OSError, ValueError):
            reply = ""
        if reply:
            answer = json.loads(reply)
            return answer["code"], answer["error"]
        code = process.wait()
        how = f"signal {-code}" if code < 0 else f"code {code}"
        return code, f"the process ended with {how}; the last line of its log: {last_error(log)}"

    def _start(self, kind: tuple[str, ...], log: Path) -> None:
        """Start the process, in a session of its own: Ctrl-C must reach the sweep first.

        What it says outside of runs, such as why it cannot start, goes to the log of its first run.
        """
        self._kind = kind
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", WORKER_MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=os.environ | {"PYTHONPATH": _path()} | self._device,
                start_new_session=True,
            )

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                pipe.close()
        self._process = None


def device_of(number: int, gpus: Sequence[str] = ()) -> dict[str, str]:
    """Return what tells the process of a worker its CUDA device: workers take turns over those that
    are visible, unless LOREAL_DEVICE is set.

    Args:
        gpus: names of the devices to take turns over; empty: those that are visible.
    """
    if gpus:
        return {VISIBLE: gpus[number % len(gpus)], VARIABLE: "0"}
    names = visible_devices()
    if len(names) < 2 or os.environ.get(VARIABLE):
        return {}
    return {VARIABLE: str(number % len(names))}


def threads_of(workers: int) -> dict[str, str]:
    """Return what tells a process how many threads it may compute with, so that all processes
    together have one for each core; nothing where there is one process, or OMP_NUM_THREADS is set.

    Threads that share a core wait for each other at every step: two processes of two threads on
    two cores take several times as long as two of one.
    """
    if workers < 2 or os.environ.get(THREADS):
        return {}
    return {THREADS: str(max(1, _cores() // workers))}


def _cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _path() -> str:
    """Return PYTHONPATH with this package's folder in front: a checkout that is not installed."""
    root = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])


class Schedule:
    """Hands out runs; of two that share a stage the second would only wait, so others go first."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._waiting = list(runs)
        self._active: list[tuple[str, ...]] = []
        self._changed = threading.Condition()
        self._stopped = False

    def take(self, last: Run | None) -> Run | None:
        """Return the next run for a worker that ended `last`, None when there is none left.

        It is the first one that is free, of the first block of the plan that has one; there of the
        worker's own family if possible, then of its kind of process. Rivals are measured on what
        their family trains, so they never run beside it. Where no run is free, wait.
        """
        with self._changed:
            while self._waiting and not self._stopped:
                free = [run for run in self._waiting if run.family not in self._active]
                free = free or [run for run in self._waiting if not run.rivals]
                if not free:
                    self._changed.wait()
                    continue
                first = min(run.block for run in free)
                free = [run for run in free if run.block == first]
                run = next((r for r in free if last and r.family == last.family), None)
                run = run or next((r for r in free if last and r.process == last.process), free[0])
                self._waiting.remove(run)
                self._active.append(run.family)
                return run
            return None

    def give_back(self, run: Run) -> None:
        """Note that a run has ended."""
        with self._changed:
            self._active.remove(run.family)
            self._changed.notify_all()

    def stop(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


class _Work:
    """What the threads of a sweep share: the runs, who hears of their ends, and what went wrong."""

    def __init__(self, runs: Sequence[Run], logs: Callable[[Run], Path], on_end: OnEnd) -> None:
        self._schedule, self._logs, self._on_end = Schedule(runs), logs, on_end
        self._reporting, self._stopping = threading.Lock(), threading.Event()
        self.faults: list[Exception] = []

    def do(self, worker: Worker) -> None:
        """Make runs until there is none left, or a thread fails."""
        try:
            self._make_runs(worker)
        except Exception as error:  # of a thread it would only be printed: the sweep raises it
            self.faults.append(error)
            self.stop()

    def stop(self) -> None:
        """Let no other run begin, and report nothing more."""
        self._stopping.set()
        self._schedule.stop()

    def _make_runs(self, worker: Worker) -> None:
        last: Run | None = None
        while (run := self._schedule.take(last)) is not None:
            start = time.monotonic()
            # a thread here waits, the process computes
            code, error = worker.run(run, self._logs(run))
            self._schedule.give_back(run)
            last = run
            with self._reporting:
                if not self._stopping.is_set():
                    self._on_end(run, Outcome(code == 0, error, time.monotonic() - start))


def run_local(
    runs: Sequence[Run],
    logs: Callable[[Run], Path],
    jobs: int,
    on_end: OnEnd,
    gpus: Sequence[str] = (),
) -> None:
    """Make the runs, `jobs` at a time; `on_end` is called once for each, never twice at once.

    Args:
        gpus: CUDA devices that the processes take turns over; empty: those that are visible.

    Raises:
        KeyboardInterrupt: after the processes were ended.
        Exception: the first that `on_end` raised, or that kept a process from starting; the
            processes were ended, and no other run was started.
    """
    work, count = _Work(runs, logs, on_end), max(1, min(jobs, len(runs)))
    workers = [Worker(number, gpus, count) for number in range(count)]
    threads = [threading.Thread(target=work.do, args=(worker,), daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive() and not work.faults:
                thread.join(0.2)  # in short steps, so that Ctrl-C is heard
        if work.faults:
            raise work.faults[0]
    except BaseException:
        work.stop()
        raise
    finally:
        for worker in workers:
            worker.stop()
