"""Runs that train on all classes: cross-dataset (xd), domain generalisation (dg), few-shot."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from loreal_plugin.errors import CheckpointError
from loreal_plugin.files import digest, write_json
from loreal_plugin.results.record import RESULTS
from loreal_plugin.results.run_table import format_run
from loreal_plugin.runs.base2new import (
    Outcome,
    final_test,
    prepare,
    row_facts,
    run_stages,
    say_line,
    stage_facts,
    using_weights,
)
from loreal_plugin.runs.engine import Engine, Say
from loreal_plugin.runs.locks import stage_lock
from loreal_plugin.runs.plan import Row
from loreal_plugin.runs.protocol import TARGET, Protocol
from loreal_plugin.runs.spec import STAGES, RunSpec


def run_across(
    spec: RunSpec,
    protocol: Protocol,
    *,
    test_only: bool = False,
    until: str = "loreal",
    say: Say = say_line,
    verbose: bool = False,
) -> Outcome:
    """Train what is missing on all classes of the source, test every row on every target, print the
    table.

    Args:
        test_only: train nothing; test every stage that is there, again.
        until: the last stage to run (`alpha`, `beta`, `loreal`); rows of later stages are left out.

    Raises:
        LorealError: see `base2new.prepare`; with `test_only`, CheckpointError when no stage is
            there.
    """
    engine = prepare(spec, protocol=protocol, say=say, verbose=verbose)
    wanted = list(engine.plan.stages.values())[: STAGES.index(until) + 1]
    with using_weights(spec.weights):
        stages, missing = run_stages(engine, wanted, test_only=test_only)
        if not stages:
            raise CheckpointError(
                f"nothing to test: {'; '.join(missing)}; run {protocol.name}.sh with these"
                " arguments"
            )
        record = _run_record(engine, stages, _test_rows(engine, stages, again=test_only))
    folder = run_place(engine, wanted[-1].name)
    if not missing:
        with stage_lock(folder, say):
            write_json(folder / RESULTS, record)
        say(f"results: {folder / RESULTS}")
    say("")
    say(format_run(record))
    return Outcome(record, folder, missing)


def run_place(engine: Engine, last: str) -> Path:
    """Return the folder of the run's record: a run that was stopped early has one of its own."""
    folder = engine.plan.record
    return (
        folder
        if last == "loreal"
        else folder.parent.with_name(f"{folder.parent.name}-until-{last}") / folder.name
    )


def _test_rows(engine: Engine, stages: dict[str, Any], *, again: bool) -> dict[str, dict[str, Any]]:
    """Return scores by row name and test set; a training's final test is its score on the source
    unless `again`.
    """
    rows = [row for row in engine.plan.rows if row.stage in stages]
    found: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows, start=1):
        engine.say(f"[test {number}/{len(rows)}] {row.label}")
        own = None if again else final_test(engine, row, stages[row.stage])
        found[row.name] = {
            name: _test(engine, row, name, own, again=again) for name in engine.plan.tests
        }
        engine.say(
            "  "
            + ", ".join(
                f"{name} {score['accuracy']:.2f} %" for name, score in found[row.name].items()
            )
        )
    return found


def _test(
    engine: Engine, row: Row, name: str, own: dict[str, Any] | None, *, again: bool
) -> dict[str, Any]:
    """Return a row's score on one test set, with what the test took."""
    if own and name == engine.plan.source:
        return own | {"seconds": None, "peak_memory_mb": None, "key": None}
    record = engine.evaluate(row, name, again=again)
    told = ("seconds", "peak_memory_mb", "kept_embeddings", "kept_seconds", "key")
    return record["score"] | {key: record[key] for key in told if key in record}


def _run_record(engine: Engine, stages: dict[str, Any], scores: dict[str, Any]) -> dict[str, Any]:
    """Return the run's record: what its last stage says, what was tested, all stages, all rows."""
    plan, identity = engine.plan, engine.identity
    last = max(stages, key=list(plan.stages).index)
    rows = [
        row_facts(engine, row, stages[row.stage])
        | {
            "targets": scores[row.name],
            "average": average(plan.tests, scores[row.name]),
        }
        for row in plan.rows
        if row.name in scores
    ]
    tested = {name: {t: s["key"] for t, s in found.items()} for name, found in scores.items()}
    facts = {
        "protocol": plan.protocol.name,
        "kind": "run",
        "key": digest(
            [plan.protocol.name, {name: record["key"] for name, record in stages.items()}, tested]
        ),
        "inference": identity.inference(last),
        "phi": plan.spec.phi,
        # of the run; the stages' own may lack keys that only tests know
        "overrides": [list(vars(o).values()) for o in plan.spec.overrides],
        "targets": target_facts(engine, last),
        "stages": stage_facts(engine, stages),
        "rows": rows,
    }
    left_out = (
        "base",
        "resumed",
        "parameters",
        "epochs",
        "steps_per_epoch",
        "kept_embeddings",
        "kept_seconds",
    )
    return {key: value for key, value in stages[last].items() if key not in left_out} | facts


def target_facts(engine: Engine, last: str) -> dict[str, dict[str, Any]]:
    """Return what a record says of its test sets, by name.

    Args:
        last: the last stage of what was tested; only `loreal` reads attributes.
    """
    identity = engine.identity
    return {
        name: {
            "dataset": test.dataset,
            "role": test.role,
            "classes": int(identity.dataset(name).num_classes),
            "images": identity.images(name),
            "test_images": identity.test_images(name),
            "attributes": identity.attributes_on(name) if last == "loreal" else None,
        }
        for name, test in engine.plan.tests.items()
    }


def average(tests: dict[str, Any], scores: dict[str, Any]) -> float:
    """Return the mean accuracy over the targets in percent; without targets that on the source."""
    targets = [score["accuracy"] for name, score in scores.items() if tests[name].role == TARGET]
    return statistics.fmean(targets or [score["accuracy"] for score in scores.values()])
