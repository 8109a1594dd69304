"""A run of any protocol that trains: its stages, every row on every test set, one table.

The stages are alpha, beta and loreal, and our own adapt and adapted, which are optional.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loreal_plugin.attach.clip_source import using_weights
from loreal_plugin.errors import CheckpointError
from loreal_plugin.files import remove_leftovers
from loreal_plugin.paths import cache_root
from loreal_plugin.plain_output import Say, say_line
from loreal_plugin.results.protocols import BASE2NEW, Protocol
from loreal_plugin.results.record import RESULTS, read_results, write_record
from loreal_plugin.results.run_table import format_run
from loreal_plugin.runs.engine import Engine
from loreal_plugin.runs.locks import stage_lock
from loreal_plugin.runs.notes import run_notes
from loreal_plugin.runs.picture_times import known_times, picture_times
from loreal_plugin.runs.plan import Plan, Row, Stage
from loreal_plugin.runs.prepare import prepare
from loreal_plugin.runs.records import run_record
from loreal_plugin.runs.spec import STAGES, RunSpec, last_stage
from loreal_plugin.runs.tracker import track_results
from loreal_plugin.runs.work import work_of
from loreal_plugin.time_left import TimeLeft

# what the record of a run that is apart from its stages says of each test
TEST_FACTS = ("seconds", "peak_memory_mb", "kept_embeddings", "kept_seconds", "key")


@dataclass(frozen=True)
class Outcome:
    """A run's record, where it lies, and the stages that were not there (`test_only`)."""

    record: dict[str, Any]
    folder: Path
    missing: list[str]


def run_protocol(
    spec: RunSpec,
    protocol: Protocol = BASE2NEW,
    *,
    test_only: bool = False,
    until: str | None = None,
    say: Say = say_line,
    verbose: bool = False,
) -> Outcome:
    """Train what is missing, test every row on every test set, write and print the table.

    Args:
        test_only: train nothing; test every stage that is there, again.
        until: the last stage to run (of `spec.STAGES`); None: as the variable UNTIL says, else
            all. Rows of later stages are left out, unless the run's record has them already.

    Raises:
        LorealError: see `prepare`; with `test_only`, CheckpointError when no stage is there.
    """
    engine = prepare(spec, protocol=protocol, say=say, verbose=verbose)
    named = STAGES[: STAGES.index(until or last_stage()) + 1]
    wanted = [stage for name, stage in engine.plan.stages.items() if name in named]
    last = wanted[-1]
    folder = record_folder(engine, last)
    remove_leftovers_of(engine)
    with using_weights(spec.weights):
        wanted += _kept_stages(engine, folder, wanted)
        clock = TimeLeft(work_of(engine, [stage.name for stage in wanted]))
        engine.tell = clock.line
        stages, missing = run_stages(engine, wanted, clock, test_only=test_only)
        if not stages:
            raise CheckpointError(
                f"nothing to test: {'; '.join(missing)}; run {protocol.script}.sh with the same"
                " arguments"
            )
        scores = _test_rows(engine, stages, clock, again=test_only)
        record = run_record(engine.plan, engine.identity, stages, scores)
        if notes := run_notes(engine):
            record["notes"] = notes
        times = known_times(read_results(folder), record) or picture_times(engine, scores)
        for row in record["rows"]:
            if row["name"] in times:
                row["picture_ms"] = times[row["name"]]
    # a record beside the stages tells of its own stage; one apart from them needs every row
    whole = last.name in stages if protocol.record_is_stage else not missing
    if whole:
        _write(engine, folder, record)
    say("")
    say(format_run(record))
    return Outcome(record, folder, missing)


def _kept_stages(engine: Engine, folder: Path, wanted: list[Stage]) -> list[Stage]:
    """Return the stages after the wanted ones that the record in a folder tells of, where all of
    them are complete under their keys.

    A run that stops before them would else take their rows out of that record.
    """
    told = (read_results(folder) or {}).get("stages") or {}
    stages = engine.plan.stages.items()
    later = [stage for name, stage in stages if name in told and stage not in wanted]
    if not later or any(engine.finished(stage) is None for stage in later):
        return []
    names = ", ".join(stage.name for stage in later)
    engine.say(f"complete after '{wanted[-1].name}', and kept in the table: {names}")
    return later


def remove_leftovers_of(engine: Engine) -> None:
    """Remove what runs that were killed were writing, in the folders of this run and the caches."""
    plan = engine.plan
    tests = [folder for row in plan.rows for folder in row.folders.values()]
    for folder in {plan.record, *tests, *(stage.folder for stage in plan.stages.values())}:
        remove_leftovers(folder, below=True)
    for cache in cache_root().glob("*/"):
        remove_leftovers(cache)


def record_folder(engine: Engine, last: Stage) -> Path:
    """Return the folder of the run's record: a run that was stopped early has one of its own."""
    folder = engine.plan.record
    if last.loreal or not last.published:
        return folder
    if engine.plan.protocol.record_is_stage and last.name != "alpha":  # whose folder has no phi
        return last.folder
    return folder.parent.with_name(f"{folder.parent.name}-until-{last.name}") / folder.name


def _write(engine: Engine, folder: Path, record: dict[str, Any]) -> None:
    """Write a run's record, say where it lies, and tell the tracker."""
    with stage_lock(folder, engine.say):
        write_record(folder, record)
        _copy_log(engine.plan, folder, record)
    engine.say(f"results: {folder / RESULTS}")
    if engine.tracker:
        home = engine.plan.spec.out
        track_results(engine.tracker, f"{folder.relative_to(home)} results", record, engine.say)


def _copy_log(plan: Plan, folder: Path, record: dict[str, Any]) -> None:
    """Copy stage 3's log beside a base-to-new record that lies elsewhere and has the log's score.

    So the family's `parse_test_res.py` reads the folder of a run with another adaptation, too.
    """
    stage = plan.stages["loreal"].folder
    log = stage / "log.txt"
    if plan.protocol.record_is_stage and folder == plan.record != stage and log.is_file():
        trained = (read_results(stage) or {}).get("base") or {}
        found = [row["base"]["accuracy"] for row in record["rows"] if row["name"] == "loreal"]
        if found == [trained.get("accuracy")]:
            shutil.copy(log, folder / log.name)


def run_stages(
    engine: Engine, wanted: list[Stage], clock: TimeLeft, *, test_only: bool
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the stages' records by name, and (`test_only`) what is not there."""
    stages: dict[str, dict[str, Any]] = {}
    missing: list[str] = []
    for number, stage in enumerate(wanted, start=1):
        engine.say(
            f"[stage {number}/{len(wanted)}] {stage.name}: {stage.title}, seed"
            f" {engine.plan.spec.seed}"
        )
        clock.begin(stage.name, number, len(wanted))
        found = engine.finished(stage) if test_only else engine.train(stage)
        clock.end(ran=stage.name in engine.journals)
        if found is None:
            engine.say("  not there")
            missing.append(f"stage {number} ({stage.title}) in {stage.folder}")
            continue
        stages[stage.name] = found
        engine.say(_stage_line(engine, stages[stage.name]))
    return stages, missing


def _stage_line(engine: Engine, record: dict[str, Any]) -> str:
    """Return what a stage gave, in one line."""
    word = "base" if engine.plan.protocol.halves else "test"
    base = f", {word} {record['base']['accuracy']:.2f} %" if record.get("base") else ""
    return f"  {record['seconds']:.1f} s, {record['parameters']:,} tunable parameters{base}"


def _test_rows(
    engine: Engine, stages: dict[str, dict[str, Any]], clock: TimeLeft, *, again: bool
) -> dict[str, dict[str, Any]]:
    """Return scores by row name and test set.

    A training's own final test is its score on what it was trained on, unless `again`.
    """
    found: dict[str, dict[str, Any]] = {}
    rows = [row for row in engine.plan.rows if row.stage in stages]
    for number, row in enumerate(rows, start=1):
        clock.begin(f"test {row.name}")
        engine.say(f"[test {number}/{len(rows)}] {row.label}{clock.words()}")
        own = None if again else final_test(engine, row, stages[row.stage])
        scores = {name: _test(engine, row, name, own, again=again) for name in engine.plan.tests}
        texts = (f"{name} {score['accuracy']:.2f} %" for name, score in scores.items())
        engine.say(f"  {', '.join(texts)}")
        clock.end(ran=True)
        found[row.name] = scores
    return found


def _test(
    engine: Engine, row: Row, name: str, own: dict[str, Any] | None, *, again: bool
) -> dict[str, Any]:
    """Return a row's score on one test set; a record apart from the stages says what it took."""
    apart = not engine.plan.protocol.record_is_stage
    if own and name == engine.plan.source:
        return own | ({"seconds": None, "peak_memory_mb": None, "key": None} if apart else {})
    record = engine.evaluate(row, name, again=again)
    costs = {key: record[key] for key in TEST_FACTS if key in record}
    return record["score"] | (costs if apart else {})


def final_test(engine: Engine, row: Row, stage: dict[str, Any]) -> dict[str, Any] | None:
    """Return the score of the training's own test, where it tested what the row tests."""
    if row.name == "native_at_phi" or stage.get("inference") != engine.identity.inference(
        row.stage
    ):
        return None  # at another size, or in another inference mode
    own = stage.get("base")
    known = own and {"hits", "mistaken"} <= own.keys()
    if own and not known and read_results(row.folders[engine.plan.source]):
        # trained by an older release and tested again since: that test knows the answers by picture
        return None
    return own
