"""How long a sweep will take, from the seconds of runs that have ended.

A *unit* is work that runs may share, such as training the host at phi. It counts once.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from loreal_plugin.results.protocols import PROTOCOLS
from loreal_plugin.results.reader import Evidence, Result, Setting
from loreal_plugin.runs.folders import sets_adaptation
from loreal_plugin.runs.resampling import adapts
from loreal_plugin.runs.spec import PUBLISHED, STAGES, last_stage
from loreal_plugin.sweep.planned_runs import Run

UNTRAINED = "untrained"
STAGE_OF_ROW = {"native": "alpha", "phi": "beta", "loreal": "loreal", "adapted": "adapted"}
Unit = tuple[object, ...]


@dataclass(frozen=True)
class Estimate:
    """Seconds of one run that is still to be made, None where no finished run tells.

    `rough` says that they are those of another setting.
    """

    seconds: float | None
    rough: bool = False


class Times(Protocol):
    """What tells the seconds of units of runs."""

    def seconds(self, run: Run, name: str) -> tuple[float | None, bool]:
        """Return the seconds of a unit of a run, and whether they are of another setting."""


def finished(run: Run, evidence: Evidence | None) -> bool:
    """Return whether there is a record of the run; its key alone tells whether it is valid."""
    if evidence is None:
        return False
    for result in evidence.results:
        # a control stands in the table of another run
        same = replace(result.setting, overrides=result.asked) == run.setting
        same = same or not run.trained and _same_zero_shot(result, run)
        if same and result.seed == run.seed and result.rival == run.rivals:
            # not every stage adds a row, and a control has one row of its run's
            if run.rivals or not run.trained or _until(run) in result.stages:
                return True
    return False


def _until(run: Run) -> str:
    """Return the stage after which a run stops."""
    asked = run.until or last_stage()
    with_adaptation = asked not in PUBLISHED and run.trained and adapts(run.spec)
    return asked if with_adaptation or asked in PUBLISHED else PUBLISHED[-1]


def _same_zero_shot(result: Result, run: Run) -> bool:
    mine, theirs = run.setting, result.setting
    facts = ("protocol", "dataset", "phi", "weights")
    return all(getattr(mine, name) == getattr(theirs, name) for name in facts)


def estimate(
    runs: Sequence[Run],
    evidence: Evidence | None,
    *,
    from_nothing: bool = False,
    times: Times | None = None,
) -> list[Estimate]:
    """Return the estimate of each run in order, 0 seconds for those that are there.

    Args:
        runs: in the order in which they will be made.
        evidence: what runs that have ended took.
        from_nothing: as if none of the runs were there.
        times: what tells the seconds; None: the runs that have ended.
    """
    times = times or _EvidenceTimes(evidence)
    there = set() if from_nothing else {run for run in runs if finished(run, evidence)}
    paid: set[Unit] = set()
    for run in there:
        paid |= set(_units(run).values())
    found = []
    for run in runs:
        if run in there:
            found.append(Estimate(0.0))
            continue
        units = {name: unit for name, unit in _units(run).items() if unit not in paid}
        paid |= set(units.values())
        known = [times.seconds(run, name) for name in units]
        if any(seconds is None for seconds, _ in known):
            found.append(Estimate(None))
        else:
            found.append(Estimate(sum(s for s, _ in known), any(rough for _, rough in known)))
    return found


def _units(run: Run) -> dict[str, Unit]:
    """Return the units of a run by name; equal units of two runs are the same work."""
    s = run.spec
    if run.rivals or not run.trained:
        return {"rivals" if run.rivals else UNTRAINED: (run.protocol, run.family, s.phi)}
    reach = {stage: tuple(o for o in s.overrides if o.reaches(stage)) for stage in STAGES}
    host = (*reach["alpha"], *reach["beta"])
    units: dict[str, Unit] = {
        "alpha": ("alpha", run.family, reach["alpha"]),
        "beta": ("beta", run.family, s.phi, reach["beta"]),
        "loreal": ("loreal", run.family, s.phi, host, reach["loreal"]),
        "native tests": ("native tests", run.protocol, run.family, reach["alpha"]),
        "host tests": ("host tests", run.protocol, run.family, s.phi, host),
        "test": ("test", run.protocol, run.family, s.phi, host, reach["loreal"]),
    }
    until = _until(run)
    if until not in PUBLISHED:
        of_adaptation = tuple(o for o in reach["adapt"] if sets_adaptation(o))
        told = (run.family, s.phi, reach["alpha"], reach["adapted"], of_adaptation)
        units |= {
            "adapted": ("adapted", *told),
            "adapted test": ("adapted test", run.protocol, *told),
        }
    dropped = {"alpha": ("beta", "loreal", "test"), "beta": ("loreal", "test")}.get(until, ())
    return {name: unit for name, unit in units.items() if name not in dropped}


class _EvidenceTimes:
    """Mean seconds of a unit: of its setting, else of other overrides, phi, shots, and so on."""

    def __init__(self, evidence: Evidence | None) -> None:
        self._seconds: dict[tuple[object, ...], list[float]] = defaultdict(list)
        # units such as the tests of the host are spread over a record's rows
        of_record: dict[tuple[Path, Setting], dict[str, float]] = defaultdict(
            lambda: defaultdict(float)
        )
        for result in evidence.results if evidence else ():
            for name, seconds in _seconds_of(result).items():
                of_record[result.path, result.setting][name] += seconds
        for (_, setting), units in of_record.items():
            for name, seconds in units.items():
                for key in self._keys(setting, name):
                    self._seconds[key].append(seconds)

    @staticmethod
    def _keys(setting: Setting, name: str) -> list[tuple[object, ...]]:
        """Return the keys of a unit: its own setting, then any shots, phi, method, protocol."""
        plain = replace(setting, recipe="", host="", targets=())
        steps = [plain, replace(plain, overrides=())]
        steps += [replace(steps[-1], shots=0), replace(steps[-1], shots=0, phi=0)]
        steps += [replace(steps[-1], method=""), replace(steps[-1], protocol="")]
        return [(name, step, key) for step, key in enumerate(steps)]

    def seconds(self, run: Run, name: str) -> tuple[float | None, bool]:
        """Return the seconds of a unit of a run, and whether they are of another setting."""
        for step, key in enumerate(self._keys(run.setting, name)):
            if self._seconds.get(key):
                return statistics.fmean(self._seconds[key]), step > 1
        return None, True


def _seconds_of(result: Result) -> dict[str, float]:
    """Return what a row says about the seconds of units."""
    tests = sum(score.seconds or 0.0 for score in result.scores.values())
    protocol = PROTOCOLS.get(result.setting.protocol)
    if protocol and not protocol.trains:
        return {UNTRAINED: tests}
    if result.content.milliseconds is not None:
        total = sum(score.total for score in result.scores.values())
        return {"rivals": result.content.milliseconds * total / 1000}
    stage = STAGE_OF_ROW.get(result.row)
    seconds = result.content.numbers.get("seconds")
    found = {stage: seconds} if stage and seconds else {}
    if result.row == "adapted":
        return found | {"adapted test": tests}
    host = "native tests" if result.row == "native" else "host tests"
    return found | {"test" if result.row.startswith("loreal") else host: tests}


def clock(seconds: float) -> str:
    """Return a duration for a line: `45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
