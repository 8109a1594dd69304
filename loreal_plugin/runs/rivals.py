"""Measures the rivals of a run on its own frozen students and pictures.

Corrections are fitted on as many augmented views of a training picture as stage 3 sees: they have
its data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loreal_plugin.attach.clip_source import using_weights
from loreal_plugin.config import flatten
from loreal_plugin.contract import get_contract
from loreal_plugin.errors import CheckpointError, ConfigError
from loreal_plugin.files import digest, read_checked, write_checked
from loreal_plugin.options import LorealOptions, changed_positions, resolve_options
from loreal_plugin.plain_output import Say, say_line
from loreal_plugin.results.protocols import BASE2NEW, Protocol
from loreal_plugin.results.reader import ZERO_SHOT_MODEL
from loreal_plugin.results.record import RowFacts, finished_record, is_complete, write_record
from loreal_plugin.runs.engine import Engine
from loreal_plugin.runs.folders import run_folder, with_targets
from loreal_plugin.runs.keys import METHOD_VERSION
from loreal_plugin.runs.locks import stage_lock
from loreal_plugin.runs.plan import Stage
from loreal_plugin.runs.prepare import prepare
from loreal_plugin.runs.random_sizes import CHANGE, RandomSizes
from loreal_plugin.runs.records import common_fields, roles, scored, target_facts, test_lists
from loreal_plugin.runs.resampling import resampling_of
from loreal_plugin.runs.rival_methods import RivalScore, size_of
from loreal_plugin.runs.rival_model import RivalModel
from loreal_plugin.runs.spec import RunSpec
from loreal_plugin.weights import clip_sizes, weights_fingerprint

RIVALS_VERSION = 6
# Zero-shot CLIP's rows, in the folder of a trainer of this name: runs of all methods read them.
CLIP, ZERO_SHOT = "CLIP", "zero_shot.json"


def run_rivals(
    spec: RunSpec,
    *,
    protocol: Protocol = BASE2NEW,
    tower: str = "",
    random_sizes: bool = False,
    say: Say = say_line,
) -> dict[str, Any]:
    """Measure zero-shot CLIP, alpha and beta with each correction; return and store the record.

    Args:
        protocol: whose stages and test sets.
        tower: other CLIP weights whose zero-shot model reads enlarged pictures, too; one with large
            patches has few tokens (`ViT-B/32`).
        random_sizes: also train the host with a random size of pictures in every step, unless it
            is trained, and test it at phi.

    Raises:
        ConfigError: the method has no class texts of its own that serve all images.
        CheckpointError: stage 1 or 2 of the run is not complete.
        LorealError: see `loreal_plugin.runs.prepare.prepare`.
    """
    if not get_contract(spec.method).static_prompts:
        raise ConfigError(
            f"rivals fit classifiers to one text a class; the prompts of method '{spec.method}'"
            " differ from image to image, so there is none; choose another method"
        )
    engine = prepare(spec, protocol=protocol, say=say)
    with using_weights(spec.weights):
        return _run(engine, tower, random_sizes)


def _run(engine: Engine, tower: str, random_sizes: bool) -> dict[str, Any]:
    """Return the record, measured unless it is there; see `run_rivals`."""
    plan, spec = engine.plan, engine.plan.spec
    alpha, beta = plan.stages["alpha"], plan.stages["beta"]
    keys = [engine.identity.stage_key(stage.name) for stage in (alpha, beta)]
    for number, stage in enumerate((alpha, beta), start=1):
        if engine.finished(stage) is None:
            raise CheckpointError(
                f"stage {number} ({stage.title}) is not in {stage.folder};"
                f" run {plan.protocol.script}.sh first"
            )
    folder = _folder(engine, alpha.trainer)
    views = _views(engine.identity.options)
    tests = {name: engine.identity.images(name) for name in plan.tests}
    own_key = digest([*keys, spec.phi, tests, views, RIVALS_VERSION])
    at_random = RandomSizes(engine)
    if random_sizes:
        at_random.train()
    with stage_lock(folder, engine.say):
        found = finished_record(folder) if is_complete(folder, own_key) else None
        if found is None:
            cfg = engine.cfgs["alpha"]
            record: dict[str, Any] = {
                **common_fields(plan, engine.identity, "rivals", own_key, alpha, cfg)
            }
            record |= {"protocol": plan.protocol.name, "rows": [], "views": views}
            record["test_sets"] = test_lists(plan, engine.identity)
            if not plan.protocol.halves:
                record["targets"] = target_facts(plan, engine.identity)
        else:
            record = found
        rows = _rows(engine, record["rows"], tower)
        if (random_sizes or found is None) and at_random.trained and not _has(rows, CHANGE):
            rows = [*rows, _random_row(engine, at_random)]
        asked = _simplest(engine, record["overrides"])
        if (rows, asked) != (record["rows"], record["overrides"]):
            write_record(folder, record | {"rows": rows, "overrides": asked})
        return finished_record(folder)


def _simplest(engine: Engine, known: list[list[str]]) -> list[list[str]]:
    """Return the overrides that a record names: one serves all runs with these students, and
    stands in tables beside that of the fewest overrides that it was asked for.
    """
    asked = [list(vars(o).values()) for o in engine.plan.spec.overrides]
    return min(known, asked, key=len)


def _rows(engine: Engine, known: list[RowFacts], tower: str) -> list[RowFacts]:
    """Return the rows of a record, measured where there are none; a tower's row is added."""
    alpha, beta = (engine.plan.stages[name] for name in ("alpha", "beta"))
    if not known:
        rows = _zero_shot(engine, alpha, tower)
        return [*rows, *(_row(engine, score) for score in _measure(engine, alpha, beta))]
    if not tower:
        return known
    others = [row for row in known if row["model"] != ZERO_SHOT_MODEL]
    return [*_zero_shot(engine, alpha, tower), *others]


def _has(rows: list[RowFacts], correction: str) -> bool:
    return any(row["correction"] == correction for row in rows)


def _random_row(engine: Engine, at_random: RandomSizes) -> RowFacts:
    """Return the row of the host that was trained at random sizes, with what the training took."""
    training = at_random.train()
    row = _row(engine, at_random.score())
    return row | {"parameters": training["parameters"], "seconds": training["seconds"]}


def _folder(engine: Engine, trainer: str) -> Path:
    """Return where rivals of a trainer lie, or zero-shot CLIP's rows."""
    spec, protocol = engine.plan.spec, engine.plan.protocol
    # the settings of beta are alpha's, and its own
    stage = engine.plan.stages["alpha" if trainer == CLIP else "beta"]
    label = with_targets(stage.folder.parent.name, protocol, spec.dataset)
    if _views(engine.identity.options) != _views(resolve_options({})):
        label = f"{label}-views{_views(engine.identity.options)}"
    return run_folder(spec, "rivals", trainer, label, f"phi{spec.phi}", protocol=protocol.name)


def _views(options: LorealOptions) -> int:
    """Return on how many views of a picture corrections are fitted: as many as stage 3 sees."""
    return options.cache_views or 1


def _zero_shot(engine: Engine, alpha: Stage, tower: str) -> list[RowFacts]:
    """Return the rows of zero-shot CLIP and of every tower that was asked for so far, measured once
    for all methods whose runs read pictures in the same way.
    """
    spec, folder = engine.plan.spec, _folder(engine, CLIP)
    model = RivalModel(engine, alpha, zero_shot=True)
    cfg = model.config(engine.plan.source, spec.phi)
    facts = {
        "weights": engine.identity.weights,
        "images": {name: engine.identity.images(name) for name in engine.plan.tests},
        "sizes": [spec.phi, engine.plan.native_size],
        "views": [_views(engine.identity.options), spec.seed],
        "input": {key: value for key, value in flatten(cfg).items() if key.startswith("INPUT.")},
        "precision": cfg.TRAINER[model.host.contract.cfg_node].PREC,
        "host": engine.identity.host_facts()["code"],
        "version": [METHOD_VERSION, RIVALS_VERSION],
        **changed_positions(resampling_of(spec)),
    }
    key = digest(facts)
    with stage_lock(folder, engine.say):
        found, _ = read_checked(folder / ZERO_SHOT)
        if found.get("key") != key:
            engine.say("[rivals 1/3] zero-shot CLIP")
            scores = model.score(ZERO_SHOT_MODEL, "zero-shot")
            found = {"key": key, "rows": [_row(engine, score) for score in scores]}
            write_checked(folder / ZERO_SHOT, found)
        towers: dict[str, RowFacts] = found.get("towers", {})
        fingerprint = weights_fingerprint(tower) if tower else ""
        if tower and fingerprint not in towers:
            new = _other_tower(engine, alpha, tower)
            # rows are told apart by their names: of two files with one name, the last one counts
            others = {f: row for f, row in towers.items() if row["name"] != new["name"]}
            towers = {**others, fingerprint: new}
            write_checked(folder / ZERO_SHOT, found | {"towers": towers})
    return [*found["rows"], *towers.values()]


def _other_tower(engine: Engine, alpha: Stage, weights: str) -> RowFacts:
    """Return the row of zero-shot CLIP with other weights, on pictures enlarged to their size."""
    facts = clip_sizes(weights)
    name = Path(weights).stem if Path(weights).is_file() else weights
    engine.say(f"[rivals] zero-shot CLIP with {name}")
    model = RivalModel(engine, alpha, zero_shot=True, weights=weights)
    text = f"zero-shot {name}"
    score = model.score_enlarged(ZERO_SHOT_MODEL, text, int(facts["resolution"]))
    tokens = (facts["resolution"] // facts["patch"]) ** 2 + 1
    return _row(engine, score) | {"correction": f"{name}, {score.correction}", "tokens": tokens}


def _row(engine: Engine, score: RivalScore) -> RowFacts:
    """Return a rival's row in the form of a run's."""
    row: RowFacts = {
        "name": score.name,
        "label": score.label,
        "model": score.model,
        "correction": score.correction,
        "milliseconds": score.milliseconds,
        "tokens": engine.plan.tokens(size_of(score.kind, engine.plan.spec.phi)),
    }
    row |= {"picture_ms": score.picture_ms} if score.picture_ms is not None else {}
    return row | scored(engine.plan.protocol, roles(engine.plan), score.scores)


def _measure(engine: Engine, alpha: Stage, beta: Stage) -> list[RivalScore]:
    """Return the scores of alpha, then of beta."""
    engine.say(f"[rivals 2/3] {alpha.title}")
    trained = RivalModel(engine, alpha, zero_shot=False)
    rows = trained.score(alpha.name, f"{alpha.trainer} trained at {alpha.size}")
    engine.say(f"[rivals 3/3] {beta.title}")
    # beta is pulled to where alpha's embeddings lie; enlarged pictures are alpha's business
    rows += RivalModel(engine, beta, zero_shot=False).score(
        beta.name, f"{beta.trainer} trained at {beta.size}", towards=trained
    )
    return rows
