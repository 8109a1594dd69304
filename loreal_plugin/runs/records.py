"""Builds every `results.json` of runs: the form is `loreal_plugin.results.record`'s.

Keys come in the order of the files, which people read.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import torch

from loreal_plugin.files import digest
from loreal_plugin.options import ADAPTATION, inference_only
from loreal_plugin.results.answers import pack_labels
from loreal_plugin.results.protocols import HALVES, SOURCE, TARGET, Protocol, judged
from loreal_plugin.results.provenance import git_revision, versions
from loreal_plugin.results.record import (
    SCHEMA_VERSION,
    HeadFacts,
    RowFacts,
    ScoreFacts,
    StageFacts,
    TestListFacts,
    TestSetFacts,
    harmonic_mean,
)
from loreal_plugin.runs.identity import Identity
from loreal_plugin.runs.plan import Plan, Row, Stage
from loreal_plugin.runs.spec import Override
from loreal_plugin.students.build import device_of

# what belongs to the last stage alone, and not to a run whose record is apart from its stages
_OF_STAGE = (
    "base",
    "resumed",
    "parameters",
    "epochs",
    "steps_per_epoch",
    "kept_embeddings",
    "kept_seconds",
    "files",
)
# keys of stage 3 that say what every stage is, or what the adapted student stands on
_OF_EVERY_STAGE = {
    f"TRAINER.LOREAL.{name}" for name in ("PRESET", "POSITION_RESAMPLING", *ADAPTATION)
}
_COSTS = ("parameters", "seconds", "peak_memory_mb", "epochs", "steps_per_epoch")


def common_fields(
    plan: Plan, identity: Identity, kind: str, key: str, stage: Stage, cfg: Any, subset: str = ""
) -> HeadFacts:
    """Return the fields that every results.json has.

    Args:
        subset: what was tested (empty: the source).
    """
    spec, protocol, subset = plan.spec, plan.protocol, subset or plan.source
    at_home = kind == "stage" or plan.tests[subset].role == SOURCE
    return {
        "schema_version": SCHEMA_VERSION,
        "protocol": protocol.home if at_home else protocol.name,
        "kind": kind,
        "key": key,
        "stage": stage.name,
        "method": spec.method,
        "trainer": stage.trainer,
        "host": identity.host_facts(),
        "dataset": spec.dataset,
        # stage 1 is the same for every phi
        "phi": None if stage.name == "alpha" and kind == "stage" else spec.phi,
        "input_size": int(cfg.INPUT.SIZE[0]),
        "native_size": plan.native_size,
        "seed": spec.seed,
        "shots": spec.shots,
        "weights": {"name": spec.weights, "sha256": identity.weights},
        "recipe": spec.recipe,
        "overrides": [list(vars(o).values()) for o in _overrides(plan, identity, kind, stage)],
        "attributes": identity.attributes_on(subset, stage.name) if stage.loreal else None,
        "config": identity.config(stage.name, cfg),
        "inference": identity.inference(stage.name),
        "images": identity.images(subset),
        "parents": {name: identity.stage_key(name) for name in stage.parents},
        "device": torch.cuda.get_device_name() if device_of(cfg).type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "git_revision": git_revision(),
    }


def _overrides(plan: Plan, identity: Identity, kind: str, stage: Stage) -> list[Override]:
    """Return the overrides that a record names: all of its run. A stage of an adapted student
    without slots names none that is stage 3's alone.
    """
    if kind != "stage" or stage.name != "adapted":
        return list(plan.spec.overrides)
    if identity.options_of(stage.name).slot_parts != "none":
        return list(plan.spec.overrides)  # its slots hold stage 3's words
    return [o for o in plan.spec.overrides if o.scope != "loreal" or o.key in _OF_EVERY_STAGE]


def run_record(
    plan: Plan, identity: Identity, stages: Mapping[str, Any], scores: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the record of a run.

    Args:
        stages: records of its stages by name.
        scores: by row name, then by test set.
    """
    published = [name for name in stages if plan.stages[name].published]
    last = max(published or stages, key=list(plan.stages).index)
    rows = [
        _row(plan, row, stages) | scored(plan.protocol, roles(plan), scores[row.name])
        for row in plan.rows
        if row.name in scores
    ]
    # of this run: a stage that several runs share may have been trained for another of them
    apart = not plan.protocol.record_is_stage
    overrides = [o for o in plan.spec.overrides if apart or not inference_only(o.key)]
    asked = {"overrides": [list(vars(o).values()) for o in overrides]}
    facts = {
        "inference": identity.inference(last),
        "phi": plan.spec.phi,
        "stages": {name: _stage(plan, name, stages[name]) for name in stages},
        "rows": rows,
        "test_sets": test_lists(plan, identity),
    }
    if not apart:
        stage = _as_tested_now(plan, stages[last], facts["inference"], scores)
        return _without_files(plan, last, stage) | asked | facts
    tested = {row: {name: s["key"] for name, s in of.items()} for row, of in scores.items()}
    keys = {name: record["key"] for name, record in stages.items()}
    own = {
        "protocol": plan.protocol.name,
        "kind": "run",
        "key": digest([plan.protocol.name, keys, tested]),
        "targets": target_facts(plan, identity, attributes=last == "loreal"),
    }
    common = {key: value for key, value in stages[last].items() if key not in _OF_STAGE}
    return common | own | asked | facts


def _as_tested_now(
    plan: Plan, stage: Mapping[str, Any], inference: Any, scores: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a stage's record whose `base` is of the run's inference mode: where another one was
    chosen since, the score of the training's own test is not.
    """
    own = [row.name for row in plan.rows if row.stage == stage["stage"] and row.name in scores]
    other = own and stage.get("inference") != inference
    return dict(stage) | ({"base": scores[own[0]][plan.source]} if other else {})


def _without_files(plan: Plan, last: str, stage: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stage's record for the run's, without `files` where it lies in another folder."""
    elsewhere = last == "alpha" or (last == "loreal" and plan.record != plan.stages[last].folder)
    return {key: value for key, value in stage.items() if not (elsewhere and key == "files")}


def scored(
    protocol: Protocol, of_role: Mapping[str, str], scores: Mapping[str, ScoreFacts]
) -> RowFacts:
    """Return a row's scores in the form of its protocol: halves with their HM, targets with their
    average, or both.

    Args:
        of_role: `source` or `target` by test set.
        scores: by test set.
    """
    found: RowFacts = {} if protocol.halves else {"targets": dict(scores)}
    if set(HALVES) <= set(protocol.tests):
        base, new = (scores.get(half) for half in HALVES)
        found["base"], found["new"] = base, new
        found["hm"] = None
        if base is not None and new is not None:
            found["hm"] = harmonic_mean(base["accuracy"], new["accuracy"])
    if not protocol.halves:
        found["average"] = average(of_role, scores)
    return found


def average(of_role: Mapping[str, str], scores: Mapping[str, ScoreFacts]) -> float:
    """Return the mean accuracy over the targets in percent; without targets that on the first test
    set.
    """
    names = judged(scores, of_role)
    # of zero-shot CLIP the first is all classes, and the others are parts of it
    counted = names if of_role[names[0]] == TARGET else names[:1]
    return statistics.fmean(scores[name]["accuracy"] for name in counted)


def roles(plan: Plan) -> dict[str, str]:
    """Return the role of each test set."""
    return {name: test.role for name, test in plan.tests.items()}


def target_facts(
    plan: Plan, identity: Identity, names: Any = None, *, attributes: bool = False
) -> dict[str, TestSetFacts]:
    """Return what a record says of its test sets, by name.

    Args:
        names: those that were tested; None: all of the plan.
        attributes: whether the tested stage reads attribute words.
    """
    return {
        name: {
            "dataset": plan.tests[name].dataset,
            "role": plan.tests[name].role,
            "classes": int(identity.dataset(name).num_classes),
            "images": identity.images(name),
            "test_images": identity.test_images(name),
            "attributes": identity.attributes_on(name) if attributes else None,
        }
        for name in (plan.tests if names is None else names)
    }


def test_lists(plan: Plan, identity: Identity, names: Any = None) -> dict[str, TestListFacts]:
    """Return the classes and the labels of the test pictures, by name of the test set.

    Args:
        names: the test sets; None: all of the plan.
    """
    datasets = {name: identity.dataset(name) for name in (plan.tests if names is None else names)}
    return {
        name: {
            "classnames": [str(classname) for classname in dataset.classnames],
            "labels": pack_labels([item.label for item in dataset.test]),
        }
        for name, dataset in datasets.items()
    }


def _row(plan: Plan, row: Row, stages: Mapping[str, Any]) -> RowFacts:
    """Return what a run's record says of a row beside its scores."""
    # an adapted student took two trainings: of its image side, and of what stands on it
    names = ("adapt", "adapted") if row.stage == "adapted" else (row.stage,)
    trainings = [stages[name] for name in names]
    test_size = plan.native_size if row.name == "native" else plan.spec.phi
    enlarged = stages["adapt"].get("enlarge", 0) if row.stage == "adapted" else 0
    return {
        "name": row.name,
        "label": row.label,
        "train_size": plan.native_size if row.stage == "alpha" else plan.spec.phi,
        "test_size": test_size,
        "parameters": sum(stage["parameters"] for stage in trainings),
        "seconds": sum(stage["seconds"] for stage in trainings),
        "tokens": plan.tokens(enlarged or test_size),
    }


def _stage(plan: Plan, name: str, record: Mapping[str, Any]) -> StageFacts:
    """Return what a run's record says of a stage."""
    folder = plan.stages[name].folder.relative_to(plan.spec.out)
    costs = {key: record[key] for key in _COSTS}
    return {"key": record["key"], "folder": str(folder), **costs}  # type: ignore[typeddict-item]
