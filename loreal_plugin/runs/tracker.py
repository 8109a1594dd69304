"""Telling an experiment tracker what a run learns: `LOREAL_TRACKER=wandb`, `mlflow`, or your own.

A tracker is any object with the three calls of `Tracker`; `module:name` is called without arguments
and returns one. It hears every scalar that goes into TensorBoard, and the accuracies of the table.
A tracker that fails later does not stop a training: that is said once, and it hears no more.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from loreal_plugin.errors import ConfigError, one_line
from loreal_plugin.results.run import run_of

VARIABLE, PROJECT = "LOREAL_TRACKER", "loreal"
Log = Callable[[str, float, "int | None"], None]


class Tracker(Protocol):
    """What is called: once at the begin, for each number, once at the end of a training."""

    def begin(self, name: str, config: Mapping[str, Any]) -> None:
        """Open a run of the tracker; `config` is flat."""

    def log(self, name: str, value: float, step: int | None) -> None:
        """Keep a number; `step` counts batches in training and epochs in tests."""

    def end(self, ok: bool) -> None:
        """Close the run; `ok` is False where the training did not come to its end, or a number was
        not taken.
        """


class _Wandb:
    """Weights & Biases, as its own variables and login say."""

    def __init__(self) -> None:
        self.module, self.run = importlib.import_module("wandb"), None

    def begin(self, name: str, config: Mapping[str, Any]) -> None:
        self.run = self.module.init(project=PROJECT, name=name, config=dict(config))

    def log(self, name: str, value: float, step: int | None) -> None:
        # its own counter must never go back, and tests count epochs
        assert self.run is not None, "begin comes first"
        self.run.log({name: value, **({} if step is None else {f"{name} at": step})})

    def end(self, ok: bool) -> None:
        assert self.run is not None, "begin comes first"
        self.run.finish(exit_code=0 if ok else 1)


class _Mlflow:
    """MLflow, as MLFLOW_TRACKING_URI says."""

    def __init__(self) -> None:
        self.module = importlib.import_module("mlflow")

    def begin(self, name: str, config: Mapping[str, Any]) -> None:
        self.module.set_experiment(PROJECT)
        self.module.start_run(run_name=name)
        try:
            # it refuses values of more than 500 characters
            self.module.log_params({key: str(value)[:500] for key, value in config.items()})
        except Exception:
            self.end(False)  # its next run would not start while this one is open
            raise

    def log(self, name: str, value: float, step: int | None) -> None:
        self.module.log_metric(name, value, step=step)

    def end(self, ok: bool) -> None:
        self.module.end_run(status="FINISHED" if ok else "FAILED")


_KNOWN: dict[str, Callable[[], Tracker]] = {"wandb": _Wandb, "mlflow": _Mlflow}


def find_tracker(named: str | None = None) -> Tracker | None:
    """Return the tracker that is asked for, None where none is.

    Args:
        named: None: as the variable LOREAL_TRACKER says.

    Raises:
        ConfigError: there is no such package, or nothing of that name in it.
    """
    named = os.environ.get(VARIABLE, "") if named is None else named
    if not named:
        return None
    module, _, name = named.partition(":")
    if not name and named not in _KNOWN:
        raise ConfigError(
            f"{VARIABLE} '{named}' is unknown; give {' or '.join(_KNOWN)}, or module:name of your"
            " own (docs/RUNS.md)"
        )
    try:
        return getattr(importlib.import_module(module), name)() if name else _KNOWN[named]()
    except (ImportError, AttributeError) as error:
        hint = f"pip install {named}" if not name else "check the name"
        raise ConfigError(f"{VARIABLE} '{named}': {one_line(error)}; {hint}") from error


@contextmanager
def tracked(
    tracker: Tracker | None, name: str, config: Mapping[str, Any], say: Callable[[str], None]
) -> Iterator[Log]:
    """Give what passes a number on to a tracker, while its run is open.

    Args:
        name, config: of the tracker's run.
        say: told once, where the tracker fails.
    """
    if tracker is None:
        yield lambda *_: None
        return
    working = True

    def attempt(call: Callable[[], None]) -> None:
        nonlocal working
        try:
            call()
        except Exception as error:  # whatever a tracker raises, the training goes on
            if working:
                say(f"  {VARIABLE}: the tracker failed and hears no more ({one_line(error)})")
            working = False

    attempt(lambda: tracker.begin(name, config))
    begun, ok = working, False
    try:
        yield lambda *number: attempt(lambda: tracker.log(*number)) if working else None
        ok = True
    finally:
        if begun:  # also where it failed since: what was opened is closed
            attempt(lambda: tracker.end(ok and working))


def listen(trainer: Any, log: Log) -> None:
    """Let a trainer pass on each scalar that it writes into TensorBoard."""
    write = trainer.write_scalar

    def write_scalar(tag: str, scalar_value: Any, global_step: int | None = None) -> None:
        write(tag, scalar_value, global_step)
        log(tag, float(scalar_value), global_step)

    trainer.write_scalar = write_scalar


def track_results(
    tracker: Tracker | None, name: str, record: Mapping[str, Any], say: Callable[[str], None]
) -> None:
    """Tell a tracker the accuracies of a run's table, in percent, as `row/test set`."""
    run = run_of(record)
    facts = ("protocol", "method", "dataset", "phi", "seed", "shots", "recipe")
    with tracked(tracker, name, {key: record[key] for key in facts}, say) as log:
        for row in run.rows:
            for test_set, score in row.scores.items():
                log(f"{row.name}/{test_set}", score.accuracy, None)
            log(f"{row.name}/{run.summary_name}", row.summary, None)
