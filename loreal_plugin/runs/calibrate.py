"""Measures a finished run's inference modes on pictures that no training saw, and sets the
threshold of `auto`.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.attach.clip_source import using_weights
from loreal_plugin.errors import CheckpointError
from loreal_plugin.files import write_checked
from loreal_plugin.inference.agreement import cheapest, choose_margin, compare, in_batches
from loreal_plugin.inference.builder import CALIBRATION, ModeBuilder
from loreal_plugin.inference.choose import choose_mode, write_chosen
from loreal_plugin.inference.deployed import Deployed
from loreal_plugin.inference.modes import Mode, check_inference
from loreal_plugin.inference_modes import MODES
from loreal_plugin.options import LorealOptions
from loreal_plugin.plain_output import Say, say_line
from loreal_plugin.results.protocols import BASE2NEW
from loreal_plugin.results.provenance import git_revision, versions
from loreal_plugin.runs.deployed_stage import open_stage
from loreal_plugin.runs.engine import Engine
from loreal_plugin.runs.find_run import ADAPTED, LOREAL, check_row
from loreal_plugin.runs.locks import stage_lock
from loreal_plugin.runs.plan import Stage
from loreal_plugin.runs.prepare import prepare
from loreal_plugin.runs.spec import RunSpec
from loreal_plugin.runs.timing import clock_of, interleave
from loreal_plugin.students.student import Student
from loreal_plugin.trainer.held_out import BATCH, HeldOut, held_out

CALIBRATION_VERSION = 1
TARGET, PICTURES = 0.995, 1000
_ROUNDS, _SECONDS = 7, 20.0


def run_calibrate(
    spec: RunSpec, *, row: str = "", target: float = TARGET, pictures: int = PICTURES
) -> dict[str, Any]:
    """Measure every mode of a run's student, write the table beside its checkpoint and return it.

    All of it is measured on the processor, the device that modes without a text encoder are for.

    Args:
        row: `loreal`, or `adapted`: the student with the adapted image side; empty: the one that
            `loreal predict` uses, `adapted` where the run has it.
        target: share of images whose predicted class has to be that of `exact`, in (0, 1].
        pictures: how many held-out embeddings are compared, at least.

    Raises:
        ConfigError: the method or the run's options allow no mode but `exact`, or no such row.
        CheckpointError: the student's stage is not complete.
        DataError: there is no picture to measure on.
        LorealError: see `loreal_plugin.runs.prepare.prepare`.
    """
    engine = prepare(spec)
    with using_weights(spec.weights):
        stage = _stage_of(engine, row)
        cfg, options = engine.cfgs[stage.name], engine.identity.options_of(stage.name)
        with stage_lock(stage.folder, engine.say):
            dataset = engine.identity.dataset(engine.plan.source)
            pictures_of = held_out(dataset, cfg, spec.seed)
            parts = engine.host, engine.plan, engine.identity, cfg
            deployed = open_stage(*parts, stage, engine.plan.source, torch.device("cpu"))
            record = calibrate(
                deployed, pictures_of, options, target=target, pictures=pictures, say=engine.say
            )
            record |= {"row": stage.name}
            path = deployed.modes.store.folder / CALIBRATION
            facts = {"stage": engine.identity.stage_key(stage.name), "method": spec.method}
            write_checked(path, record | facts)
    engine.say(f"written: {path}")
    return record


def _stage_of(engine: Engine, row: str) -> Stage:
    """Return the finished stage of a row, and say which it is where none was named.

    Raises:
        ConfigError, CheckpointError: see `run_calibrate`.
    """
    stages = engine.plan.stages
    check_row(row, stages)
    names = [row] if row else [name for name in (ADAPTED, LOREAL) if name in stages]
    for name in names:
        if engine.finished(stages[name]) is not None:
            if len(names) > 1 and name == ADAPTED:
                engine.say(
                    "the student with the adapted image side, which predict uses, too;"
                    " --row loreal: the one without it"
                )
            return stages[name]
    stage, number = stages[names[-1]], [*stages].index(names[-1]) + 1
    raise CheckpointError(
        f"stage {number} ({stage.title}) is not in {stage.folder}; run {BASE2NEW.script}.sh first"
    )


def calibrate(
    deployed: Deployed,
    pictures_of: HeldOut,
    options: LorealOptions,
    *,
    target: float = TARGET,
    pictures: int = PICTURES,
    say: Say = say_line,
) -> dict[str, Any]:
    """Return the table of a trained model: rows, threshold, what to choose."""
    builder, device = deployed.modes, deployed.beta.device
    check_inference(deployed.beta.contract, dataclasses.replace(options, inference="auto"))
    features, labels, source = pictures_of.embed(deployed.model, pictures)
    say(f"{len(features)} held-out embeddings: {source}")
    exact_mode = builder.mode(dataclasses.replace(options, inference="exact"))
    exact = in_batches(exact_mode, features, BATCH)
    # the first pass of `auto` does not depend on the threshold, which is chosen from it
    auto = builder.mode(dataclasses.replace(options, inference="auto"), margin=0.0)
    margin, promised = choose_margin(
        in_batches(auto.first, features, BATCH), exact, options.shortlist_k, target
    )
    found = _compared(builder, options, margin, exact_mode)
    rows = [_row(name, row, features, labels, exact, say) for name, row in found.items()]
    modes = {name: row.mode for name, row in found.items()}
    for row, times in zip(rows, _times(modes, features, device), strict=True):
        row |= times
    best = choose_mode(builder, options, features, source, target=target, say=say)
    write_chosen(builder, options, best)
    say(best.text())
    chosen = cheapest(rows, target)
    return {
        "schema_version": CALIBRATION_VERSION,
        "belongs_to": builder.calibration_owner(options),
        "target": target,
        "margin": margin,
        "promised": promised,
        "pictures": {"where": source, "embeddings": len(features)},
        "classes": exact.shape[1],
        "batch": min(BATCH, len(features)),
        "image_encoder_ms": _encoder_ms(deployed.beta),
        "expansion": builder.expansion(options)[1] if builder.with_contents else None,
        "rows": rows,
        "chosen": {"mode": chosen["mode"], **chosen["keys"]},
        "device": str(device),
        "clock": clock_of(device),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "git_revision": git_revision(),
    }


@dataclasses.dataclass(frozen=True)
class Compared:
    """A mode as it stands in the table: with the keys that choose it, in upper case."""

    mode: Mode
    keys: Mapping[str, Any]


def _compared(
    builder: ModeBuilder, options: LorealOptions, margin: float, exact: Mode
) -> dict[str, Compared]:
    """Return every mode by the name of its row; `exact` is there already."""
    found = {}
    for name, row in MODES.items():
        for title, changed in (row.compared or {name: {}}).items():
            own = dataclasses.replace(options, inference=name, **changed)
            mode = exact if name == "exact" else builder.mode(own, margin=margin)
            keys = {"INFERENCE": name} | {key.upper(): value for key, value in changed.items()}
            found[title.format(**vars(options))] = Compared(mode, keys)
    return found


def _row(
    name: str, compared: Compared, features: Tensor, labels: Tensor, exact: Tensor, say: Say
) -> dict[str, Any]:
    """Return a mode's agreement, how much it checks exactly, and what it holds."""
    mode = compared.mode
    logits = in_batches(mode, features, BATCH)
    found = dataclasses.asdict(compare(logits, exact, labels))
    say(f"  {name}: {found['agreement']:.2f} % agree")
    return {
        "mode": name,
        "keys": dict(compared.keys),
        **found,
        **_checks(mode, features),
        "table_mib": mode.n_bytes / 2**20,
        "peak_mib": peak_bytes(lambda: mode(features[:BATCH])) / 2**20,
    }


def _checks(mode: Mode, features: Tensor) -> dict[str, float]:
    """Return the share of images in which classes run exactly (percent), and how many classes an
    image on average.
    """
    row = MODES[mode.mode]
    if not row.refines:
        # One pass over all classes, with the text encoder or without it.
        n_classes = len(mode.student.classnames) if row.needs_text else 0
        return {"checked": 100.0 * row.needs_text, "classes_checked": float(n_classes)}
    checked = mode.checked(in_batches(mode.first, features, BATCH))  # (N, C) bool
    return {
        "checked": 100 * float(checked.any(1).float().mean()),
        "classes_checked": float(checked.sum(1).float().mean()),
    }


def _times(
    modes: dict[str, Mode], features: Tensor, device: torch.device
) -> list[dict[str, float]]:
    """Return each mode's milliseconds an image, from features to logits, in batches and alone;
    medians of turns.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in modes}
    for key, size in (("milliseconds", min(BATCH, len(features))), ("milliseconds_alone", 1)):
        calls = {name: _in_turn(mode, features, size) for name, mode in modes.items()}
        samples = interleave(calls, rounds=_ROUNDS, budget_s=_SECONDS, device=device)
        for name in modes:
            found[name][key] = 1000 * statistics.median(samples[name][clock_of(device)]) / size
    return [found[name] for name in modes]


def _in_turn(mode: Mode, features: Tensor, size: int) -> Callable[[], object]:
    """Return a call that predicts another batch each time: the cost of `auto` depends on it."""
    batches = itertools.cycle([part for part in features.split(size) if len(part) == size])
    return lambda: mode(next(batches))


def _encoder_ms(beta: Student) -> float:
    """Return a student's image encoder's milliseconds an image, in a batch."""
    device = beta.device
    images = torch.zeros(BATCH, 3, beta.input_size, beta.input_size, device=device)
    encoder = {"encoder": lambda: beta.encode_image(images)}
    samples = interleave(encoder, rounds=3, budget_s=_SECONDS, device=device)
    return 1000 * statistics.median(samples["encoder"][clock_of(device)]) / BATCH


def peak_bytes(call: Callable[[], object]) -> int:
    """Return the most bytes that a call on the processor holds at once in tensors, beyond what is
    held before it.
    """
    call()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        call()
    held = peak = 0
    # an event for each tensor that is made (bytes above 0) or freed (below 0)
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
