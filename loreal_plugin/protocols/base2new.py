"""Low-resolution base-to-new: three stages, four rows, one table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loreal_plugin.errors import CheckpointError, ConfigError
from loreal_plugin.paths import cache_root
from loreal_plugin.protocols.engine import Engine, Say
from loreal_plugin.protocols.keys import digest
from loreal_plugin.protocols.plan import build_plan
from loreal_plugin.protocols.records import RESULTS, harmonic_mean, is_complete, read_results, write_json
from loreal_plugin.protocols.spec import RunSpec
from loreal_plugin.protocols.tables import format_run
from loreal_plugin.protocols.text_files import write_text

SUBSETS = ("base", "new")
MANY_PICTURES = 2000


@dataclass(frozen=True)
class Outcome:
    """A run's record, where it lies, and the stages that were not there (`test_only`)."""

    record: dict[str, Any]
    folder: Path
    missing: list[str]


def say_line(text: str) -> None:
    """Print one line of progress at once."""
    print(text, flush=True)


def prepare(spec: RunSpec, *, say: Say = say_line, verbose: bool = False) -> Engine:
    """Return an engine ready to run `spec`; everything that can be wrong is found here, before anything is written.

    Raises:
        LorealError: weights, phi, dataset, recipe, overrides, host, attributes or pictures that cannot be used.
    """
    from loreal_plugin.attach import attach_host
    from loreal_plugin.weights import describe, load_clip_state_dict, weights_fingerprint

    facts = describe(load_clip_state_dict(spec.weights))
    plan = build_plan(spec, native_size=facts["resolution"], patch_size=facts["patch"])
    fingerprint = weights_fingerprint(spec.weights)
    host = attach_host(spec.host, spec.method)
    engine = Engine(host, plan, fingerprint, say=say, verbose=verbose)
    check_slots(engine)
    check_pictures(engine)
    return engine


def check_slots(engine: Engine) -> None:
    """Read options and attributes; an attribute that tokenises to nothing is an error here, not in stage 3.

    Raises:
        AttributeFileError: the attribute file is unusable.
        ConfigError: options that cannot be used, or LOREAL switched off.
    """
    from loreal_plugin.attributes import tokenise_attributes
    from loreal_plugin.weights import import_clip

    if not engine.identity.options.enabled:
        raise ConfigError(
            "TRAINER.LOREAL.ENABLED False is the host alone, which the row 'trained and tested at "
            f"{engine.plan.spec.phi}' shows already; leave it out (loreal train runs it)"
        )
    encode = import_clip().clip._tokenizer.encode
    tokenise_attributes([str(word) for word in engine.identity.attributes], encode)


def check_pictures(engine: Engine) -> None:
    """Decode every picture that the run will read, so that a broken one stops it before anything is written.

    Raises:
        DataError: a picture is missing or broken; names it.
    """
    from loreal_plugin.data import Item, check_images

    base, new = (engine.identity.dataset(subset) for subset in SUBSETS)
    paths = sorted({item.impath for item in [*base.train_x, *base.test, *new.test]})
    # large test sets take minutes to decode: a list that was found whole, with its sizes, is not read again
    known = cache_root() / "checked" / digest([paths, *(engine.identity.images(s) for s in SUBSETS)])
    if known.is_file():
        return
    if len(paths) > MANY_PICTURES:
        engine.say(f"checking {len(paths):,} pictures of '{engine.plan.spec.dataset}' (once)")
    check_images(Item(path, 0, "") for path in paths)
    write_text(known, f"{len(paths)} pictures\n")


def run_base2new(spec: RunSpec, *, test_only: bool = False, say: Say = say_line, verbose: bool = False) -> Outcome:
    """Train what is missing, test every row, write and print the table.

    Args:
        test_only: train nothing; test every stage that is there, again.

    Raises:
        LorealError: see `prepare`; with `test_only`, CheckpointError when no stage is there.
    """
    engine = prepare(spec, say=say, verbose=verbose)
    plan, identity = engine.plan, engine.identity
    stages: dict[str, dict[str, Any]] = {}
    missing: list[str] = []
    for number, stage in enumerate(plan.stages.values(), start=1):
        say(f"[stage {number}/3] {stage.name}: {stage.title}, seed {spec.seed}")
        if test_only and not is_complete(stage.folder, identity.stage_key(stage.name)):
            say("  not there")
            missing.append(f"stage {number} ({stage.title}) in {stage.folder}")
            continue
        stages[stage.name] = read_results(stage.folder) if test_only else engine.train(stage)
        say(_stage_line(stages[stage.name]))
    if not stages:
        raise CheckpointError(f"nothing to test: {'; '.join(missing)}; run base2new_train.sh with the same arguments")
    record = _run_record(engine, stages, _test_rows(engine, stages, again=test_only))
    folder = plan.stages["loreal"].folder
    if "loreal" in stages:
        write_json(folder / RESULTS, record)
        say(f"results: {folder / RESULTS}")
    say("")
    say(format_run(record))
    return Outcome(record, folder, missing)


def _stage_line(record: dict[str, Any]) -> str:
    """Return what a stage gave, in one line."""
    base = f", base {record['base']['accuracy']:.2f} %" if record.get("base") else ""
    return f"  {record['seconds']:.1f} s, {record['parameters']:,} tunable parameters{base}"


def _test_rows(engine: Engine, stages: dict[str, dict[str, Any]], *, again: bool) -> dict[str, dict[str, Any]]:
    """Return base and new scores by row name; a stage's own final test is its base score unless `again`."""
    found: dict[str, dict[str, Any]] = {}
    rows = [row for row in engine.plan.rows if row.stage in stages]
    for number, row in enumerate(rows, start=1):
        engine.say(f"[test {number}/{len(rows)}] {row.label}")
        own = stages[row.stage].get("base") if row.name != "native_at_phi" and not again else None
        scores = {"base": own or engine.evaluate(row, "base", again=again)["score"]}
        scores["new"] = engine.evaluate(row, "new", again=again)["score"]
        engine.say(f"  base {scores['base']['accuracy']:.2f} %, new {scores['new']['accuracy']:.2f} %")
        found[row.name] = scores
    return found


def _run_record(engine: Engine, stages: dict[str, Any], scores: dict[str, Any]) -> dict[str, Any]:
    """Return the run's record: stage 3's own (or an empty head), all stages, all rows."""
    plan = engine.plan
    rows = []
    for row in plan.rows:
        if row.name not in scores:
            continue
        base, new = scores[row.name]["base"], scores[row.name]["new"]
        rows.append(
            {
                "name": row.name,
                "label": row.label,
                "train_size": plan.native_size if row.stage == "alpha" else plan.spec.phi,
                "test_size": plan.native_size if row.name == "native" else plan.spec.phi,
                "base": base,
                "new": new,
                "hm": harmonic_mean(base["accuracy"], new["accuracy"]),
                "parameters": stages[row.stage]["parameters"],
                "seconds": stages[row.stage]["seconds"],
            }
        )
    facts = {
        name: {
            "key": record["key"],
            "folder": str(plan.stages[name].folder.relative_to(plan.spec.out)),
            **{k: record[k] for k in ("parameters", "seconds", "peak_memory_mb", "epochs")},
        }
        for name, record in stages.items()
    }
    head = stages.get("loreal") or {"method": plan.spec.method, "dataset": plan.spec.dataset, "phi": plan.spec.phi,
                                    "seed": plan.spec.seed, "weights": {"name": plan.spec.weights},
                                    "shots": plan.spec.shots, "native_size": plan.native_size}  # fmt: skip
    return {**head, "stages": facts, "rows": rows}
