"""Every result below an output folder, one object a row and run; what cannot be used is listed with
its reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loreal_plugin.errors import LorealError
from loreal_plugin.plain_output import counted
from loreal_plugin.results.lookup import Lookup, row_identity, tested_on, train_pictures
from loreal_plugin.results.protocols import TARGET, own_targets
from loreal_plugin.results.record import RESULTS, STARTED, read_record
from loreal_plugin.results.run import Row, Run, Score, run_of
from loreal_plugin.results.variants import PLAIN, place

ZERO_SHOT_METHOD = "clip"
ZERO_SHOT_MODEL = "zero-shot"


@dataclass(frozen=True)
class Setting:
    """What has to be equal for two runs to be repetitions of each other, the seed apart.

    `targets`: the datasets that are tested, where they are others than those of the source.
    """

    protocol: str
    dataset: str
    method: str
    phi: int
    shots: int
    weights: str
    recipe: str
    host: str
    overrides: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """One row of one run.

    `content` has the row's scores and costs. `identity` holds the settings that the row depends on,
    without the seed. `asked` are the overrides of the command that made it; the setting of a
    control has those of the run that it controls, because it stands in that run's table. `stages`
    are the keys of the run's stages by name, nothing where the record does not tell them.
    """

    setting: Setting
    seed: int
    content: Row
    train_pictures: int | None
    roles: Mapping[str, str]
    identity: Mapping[str, Any]
    path: Path
    asked: tuple[str, ...] = ()
    native_size: int = 0
    stages: Mapping[str, str] = field(default_factory=dict)

    @property
    def row(self) -> str:
        """Return the row's name."""
        return self.content.name

    @property
    def scores(self) -> Mapping[str, Score]:
        """Return the row's scores by test set."""
        return self.content.scores

    @property
    def summary(self) -> float:
        """Return the number that the protocol is judged by, in percent."""
        return self.content.summary

    @property
    def repeats(self) -> str:
        """Return the model of a rival that corrects nothing, "" for any other row."""
        return "" if self.content.change else self.content.model

    @property
    def rival(self) -> bool:
        """Return whether the row is a rival's, whose times are taken in another way."""
        return bool(self.content.model)


@dataclass
class Evidence:
    """What an output folder holds; paths are below `out`."""

    out: Path
    results: list[Result] = field(default_factory=list)
    broken: dict[Path, str] = field(default_factory=dict)
    unfinished: list[Path] = field(default_factory=list)
    sweeps: list[dict[str, Any]] = field(default_factory=list)
    provenance: dict[str, set[str]] = field(default_factory=dict)


def collect(out: Path) -> Evidence:
    """Return everything below an output folder; what was set aside (`.replaced`) does not count.

    Raises:
        LorealError: there is no such folder, or no results.json in it.
    """
    if not out.is_dir():
        raise LorealError(
            f"no folder {out}; give the output folder of your runs (OUT, by default ./output)"
        )
    evidence, records = Evidence(out), {}
    for path in sorted(p for p in out.rglob(RESULTS) if not is_set_aside(p)):
        record, fault = read_record(path)
        if fault:
            evidence.broken[path.relative_to(out)] = fault
        elif record.get("kind") == "sweep":
            evidence.sweeps.append(record)
        else:
            records[path] = record
    if not (records or evidence.broken or evidence.sweeps):
        raise LorealError(f"no {RESULTS} below {out}; run base2new_train.sh or loreal sweep first")
    _add_results(evidence, records)
    started = (p.parent for p in out.rglob(STARTED) if not is_set_aside(p))
    evidence.unfinished = sorted(p.relative_to(out) for p in started if not (p / RESULTS).exists())
    return evidence


def is_set_aside(path: Path) -> bool:
    """Return whether a file lies in a folder that was moved away for another run."""
    return any(part.endswith(".replaced") for part in path.parts)


def setting_of(run: Run, overrides: tuple[str, ...] | None = None) -> Setting:
    """Return a run's setting, with `overrides` in place of its own where they are given."""
    host = run["host"] or {}
    tested = [name for name, role in run.roles.items() if role == TARGET]
    return Setting(
        run.protocol,
        run["dataset"],
        run["method"],
        run["phi"],
        run["shots"],
        run.weights,
        run.facts.get("recipe", ""),
        host.get("name", ""),
        run.overrides if overrides is None else overrides,
        own_targets(run.protocol, run["dataset"], tested),
    )


def _add_results(evidence: Evidence, records: dict[Path, dict[str, Any]]) -> None:
    """Turn the records that have rows into results; tests and stages are looked up where a row
    needs them.
    """
    lookup = Lookup(evidence.out, records)
    for path, record in records.items():
        if not record.get("rows"):
            continue
        try:
            evidence.results += list(results_of(path, record, lookup))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            evidence.broken[path.relative_to(evidence.out)] = (
                f"has rows of another form ({error!r})"
            )
            continue
        _note_provenance(evidence, record)


def _note_provenance(evidence: Evidence, record: Mapping[str, Any]) -> None:
    facts = {
        "device": f"{record.get('device')} ({counted(int(record.get('threads') or 0), 'thread')})",
        "torch": str((record.get("versions") or {}).get("torch", "?")),
        "revision": str(record.get("git_revision") or "no checkout")[:12],
    }
    for name, value in facts.items():
        evidence.provenance.setdefault(name, set()).add(value)


def results_of(path: Path, record: Mapping[str, Any], lookup: Lookup) -> Iterator[Result]:
    """Yield a run's or rivals' rows; of a control only the row that its run's table needs.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: they have another form.
    """
    run = run_of(record)
    placed = place(run, path.parent.parent.name, lookup.unchanged(record))
    if placed.order == PLAIN:
        # what the tests of the four rows took may stand in records of their own
        timed = run_of(record, lambda row, name, score: lookup.test(record, row, name, score))
        placed = replace(placed, rows=timed.rows)
    setting = setting_of(run, placed.overrides)
    stages = {name: facts["key"] for name, facts in (record.get("stages") or {}).items()}
    for row in placed.rows:
        # zero-shot CLIP is the same whichever method's run it was measured beside
        shared = row.model == ZERO_SHOT_MODEL
        alone = {"weights": record["weights"].get("sha256")} | tested_on(record)
        yield Result(
            setting=replace(setting, method=ZERO_SHOT_METHOD) if shared else setting,
            seed=record["seed"],
            content=row,
            train_pictures=train_pictures(record, row.name, lookup),
            roles=run.roles,
            identity=alone if shared else row_identity(record, row.name, lookup),
            path=path,
            asked=placed.asked,
            native_size=record.get("native_size") or 0,
            stages=stages,
        )
