"""Low-resolution base-to-new: three stages, four rows, one table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loreal_plugin.data.storage import saves_held_back
from loreal_plugin.errors import CheckpointError
from loreal_plugin.files import write_json
from loreal_plugin.results.record import RESULTS, harmonic_mean, is_complete, read_results
from loreal_plugin.results.run_table import format_run
from loreal_plugin.runs.checks import check_layers, check_run
from loreal_plugin.runs.engine import Engine, Say
from loreal_plugin.runs.locks import stage_lock
from loreal_plugin.runs.plan import Row, Stage, build_plan
from loreal_plugin.runs.protocol import BASE2NEW, Protocol
from loreal_plugin.runs.spec import STAGES, RunSpec


@dataclass(frozen=True)
class Outcome:
    """A run's record, where it lies, and the stages that were not there (`test_only`)."""

    record: dict[str, Any]
    folder: Path
    missing: list[str]


def say_line(text: str) -> None:
    """Print one line of progress at once."""
    print(text, flush=True)


def prepare(
    spec: RunSpec,
    *,
    protocol: Protocol = BASE2NEW,
    say: Say = say_line,
    verbose: bool = False,
    look: bool = True,
) -> Engine:
    """Return an engine ready to run `spec`; everything that can be wrong is found here, before
    anything is written.

    Args:
        look: also look at datasets, pictures and prompts; without, only at what the command line
            says.

    Raises:
        LorealError: weights, phi, dataset, recipe, overrides, host, attributes, prompts or pictures
            that cannot be used.
    """
    from loreal_plugin.attach import attach_host
    from loreal_plugin.weights import describe, load_clip_state_dict, weights_fingerprint

    with using_weights(spec.weights), saves_held_back() as saves:
        facts = describe(load_clip_state_dict(spec.weights))
        plan = build_plan(
            spec, native_size=facts["resolution"], patch_size=facts["patch"], protocol=protocol
        )
        fingerprint = weights_fingerprint(spec.weights)
        host = attach_host(spec.host, spec.method)
        engine = Engine(host, plan, fingerprint, say=say, verbose=verbose)
        check_layers(engine, min(facts["layers"], facts["text_layers"]))
        if look:
            check_run(engine)
            for subset in plan.tests:
                engine.identity.images(subset)
        saves.commit()
    return engine


@contextmanager
def using_weights(name: str) -> Iterator[None]:
    """Let hosts load the CLIP weights `name`: they read the variable CLIP_WEIGHTS before their
    configuration.
    """
    before = os.environ.get("CLIP_WEIGHTS")
    os.environ["CLIP_WEIGHTS"] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ["CLIP_WEIGHTS"]
        else:
            os.environ["CLIP_WEIGHTS"] = before


def run_base2new(
    spec: RunSpec,
    *,
    test_only: bool = False,
    until: str = "loreal",
    say: Say = say_line,
    verbose: bool = False,
) -> Outcome:
    """Train what is missing, test every row, write and print the table.

    Args:
        test_only: train nothing; test every stage that is there, again.
        until: the last stage to run (`alpha`, `beta`, `loreal`); rows of later stages are left out.

    Raises:
        LorealError: see `prepare`; with `test_only`, CheckpointError when no stage is there.
    """
    engine = prepare(spec, say=say, verbose=verbose)
    plan = engine.plan
    wanted = list(plan.stages.values())[: STAGES.index(until) + 1]
    with using_weights(spec.weights):
        stages, missing = run_stages(engine, wanted, test_only=test_only)
        if not stages:
            raise CheckpointError(
                f"nothing to test: {'; '.join(missing)}; run base2new_train.sh with the same"
                " arguments"
            )
        record = _run_record(engine, stages, _test_rows(engine, stages, again=test_only))
    folder = plan.record if wanted[-1].loreal else wanted[-1].folder
    if wanted[-1].name in stages:
        with stage_lock(folder, say):
            write_json(folder / RESULTS, record)
        say(f"results: {folder / RESULTS}")
    say("")
    say(format_run(record))
    return Outcome(record, folder, missing)


def run_stages(
    engine: Engine, wanted: list[Stage], *, test_only: bool
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the stages' records by name, and (`test_only`) what is not there."""
    stages: dict[str, dict[str, Any]] = {}
    missing: list[str] = []
    for number, stage in enumerate(wanted, start=1):
        engine.say(
            f"[stage {number}/{len(wanted)}] {stage.name}: {stage.title}, seed"
            f" {engine.plan.spec.seed}"
        )
        if test_only and not is_complete(stage.folder, engine.identity.stage_key(stage.name)):
            engine.say("  not there")
            missing.append(f"stage {number} ({stage.title}) in {stage.folder}")
            continue
        stages[stage.name] = read_results(stage.folder) if test_only else engine.train(stage)
        engine.say(_stage_line(stages[stage.name]))
    return stages, missing


def _stage_line(record: dict[str, Any]) -> str:
    """Return what a stage gave, in one line."""
    word = "base" if record["protocol"] == "base2new" else "test"
    base = f", {word} {record['base']['accuracy']:.2f} %" if record.get("base") else ""
    return f"  {record['seconds']:.1f} s, {record['parameters']:,} tunable parameters{base}"


def _test_rows(
    engine: Engine, stages: dict[str, dict[str, Any]], *, again: bool
) -> dict[str, dict[str, Any]]:
    """Return base and new scores by row name; a stage's own final test is its base score unless
    `again`.
    """
    found: dict[str, dict[str, Any]] = {}
    rows = [row for row in engine.plan.rows if row.stage in stages]
    for number, row in enumerate(rows, start=1):
        engine.say(f"[test {number}/{len(rows)}] {row.label}")
        own = None if again else final_test(engine, row, stages[row.stage])
        scores = {"base": own or engine.evaluate(row, "base", again=again)["score"]}
        scores["new"] = engine.evaluate(row, "new", again=again)["score"]
        engine.say(
            f"  base {scores['base']['accuracy']:.2f} %, new {scores['new']['accuracy']:.2f} %"
        )
        found[row.name] = scores
    return found


def final_test(engine: Engine, row: Row, stage: dict[str, Any]) -> dict[str, Any] | None:
    """Return the score of the training's own test, where it tested what the row tests."""
    if row.name == "native_at_phi" or stage.get("inference") != engine.identity.inference(
        row.stage
    ):
        return None  # at another size, or in another inference mode
    own = stage.get("base")
    if own and "hits" not in own and read_results(row.folders[engine.plan.source]):
        # trained by an older release and tested again since: that test knows the answers by picture
        return None
    return own


def row_facts(engine: Engine, row: Row, stage: dict[str, Any]) -> dict[str, Any]:
    """Return what a run's record says of a row beside its scores."""
    plan = engine.plan
    return {
        "name": row.name,
        "label": row.label,
        "train_size": plan.native_size if row.stage == "alpha" else plan.spec.phi,
        "test_size": plan.native_size if row.name == "native" else plan.spec.phi,
        "parameters": stage["parameters"],
        "seconds": stage["seconds"],
    }


def stage_facts(engine: Engine, stages: dict[str, Any]) -> dict[str, Any]:
    """Return what a run's record says of its stages, by name."""
    return {
        name: {
            "key": record["key"],
            "folder": str(engine.plan.stages[name].folder.relative_to(engine.plan.spec.out)),
            **{
                k: record[k]
                for k in ("parameters", "seconds", "peak_memory_mb", "epochs", "steps_per_epoch")
            },
        }
        for name, record in stages.items()
    }


def _run_record(engine: Engine, stages: dict[str, Any], scores: dict[str, Any]) -> dict[str, Any]:
    """Return the run's record: its last stage's own, all stages, all rows."""
    plan = engine.plan
    rows = []
    for row in plan.rows:
        if row.name not in scores:
            continue
        base, new = scores[row.name]["base"], scores[row.name]["new"]
        scored = {"base": base, "new": new, "hm": harmonic_mean(base["accuracy"], new["accuracy"])}
        rows.append(row_facts(engine, row, stages[row.stage]) | scored)
    # a run's record is that of its last stage, with all stages and rows
    head = stages[max(stages, key=list(plan.stages).index)]
    inference = engine.identity.inference(head["stage"])
    return {
        **head,
        "inference": inference,
        "phi": plan.spec.phi,
        "stages": stage_facts(engine, stages),
        "rows": rows,
    }
