"""Zero-shot CLIP with hand-made prompts, at the native size and at phi; nothing is trained.

It depends on dataset, phi and weights alone. The datasets are read through the embedded host,
whatever HOST is: CLIP is the same in every host.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from loreal_plugin.attach.clip_source import using_weights
from loreal_plugin.contract import PLAIN_METHOD
from loreal_plugin.contract.base import HostModel
from loreal_plugin.data.templates import template_of
from loreal_plugin.errors import ConfigError
from loreal_plugin.files import digest
from loreal_plugin.options import changed_positions
from loreal_plugin.paths import embedded_host
from loreal_plugin.results.answers import score_facts
from loreal_plugin.results.protocols import EVERY_CLASS, ZERO_SHOT
from loreal_plugin.results.record import (
    RESULTS,
    RowFacts,
    ScoreFacts,
    is_complete,
    read_results,
    write_record,
)
from loreal_plugin.runs.engine import Engine
from loreal_plugin.runs.folders import config_label, run_folder
from loreal_plugin.runs.loaders import host_test_loader
from loreal_plugin.runs.locks import stage_lock
from loreal_plugin.runs.meter import Meter
from loreal_plugin.runs.prepare import prepare
from loreal_plugin.runs.records import common_fields, roles, scored, target_facts, test_lists
from loreal_plugin.runs.resampling import RESAMPLING, resampling_of
from loreal_plugin.runs.spec import RunSpec
from loreal_plugin.students.build import device_of
from loreal_plugin.weights import describe, import_clip, load_clip_state_dict
from loreal_plugin.weights.positions import resample_pos_embed

# raise it with any change after which the same pictures give other numbers
ZERO_SHOT_VERSION = 1
TRAINER, METHOD = "CLIP", "clip"
POSITIONS = "visual.positional_embedding"
KEYS_READ = (f"TRAINER.LOREAL.{RESAMPLING}", "TRAINER.LOREAL.PRESET")


def run_zero_shot(engine: Engine) -> tuple[dict[str, Any], Path]:
    """Return the record, measured unless it is complete, and its folder."""
    folder = zero_shot_folder(engine)
    tests, key = _tests(engine), _key(engine)
    with stage_lock(folder, engine.say):
        if is_complete(folder, key):
            engine.say(f"  complete (key {key[:8]}), reused from {folder}")
            return read_results(folder) or {}, folder
        with using_weights(engine.plan.spec.weights):
            record = _record(engine, key, tests)
        write_record(folder, record)
    engine.say(f"results: {folder / RESULTS}")
    return record, folder


def prepare_zero_shot(spec: RunSpec) -> Engine:
    """Return an engine for the pictures of a dataset; ConfigError for overrides, else see
    `prepare`.
    """
    for one in spec.overrides:
        if one.key not in KEYS_READ:
            raise ConfigError(
                f"zero-shot CLIP has no setting '{one.key}'; leave it out (it reads"
                f" {' and '.join(KEYS_READ)})"
            )
    plain = replace(spec, method=PLAIN_METHOD, host=embedded_host(), shots=1, seed=0)
    return prepare(plain, protocol=ZERO_SHOT, check_data=False)


def zero_shot_folder(engine: Engine) -> Path:
    """Return `<out>/zero_shot/run/<dataset>/CLIP/phi<N>/<cfg>`."""
    spec = engine.plan.spec
    full = run_folder(
        spec,
        "run",
        TRAINER,
        config_label(spec, "alpha", resampled=True),
        f"phi{spec.phi}",
        protocol=ZERO_SHOT.name,
    )
    above = full.parents[3]  # neither shots nor seeds make a difference
    return above.parent / TRAINER / full.parents[1].name / full.parent.name


def _tests(engine: Engine) -> list[str]:
    """Return what is tested: all classes, and the halves of a dataset that has them."""
    every = engine.plan.protocol.tests
    whole, half = (engine.identity.dataset(name).num_classes for name in every[:2])
    return list(every if half < whole else every[:1])


def _key(engine: Engine) -> str:
    """Return the key of the whole run."""
    cfg, identity = engine.cfgs["alpha"], engine.identity
    read = [
        cfg.INPUT.INTERPOLATION,
        list(cfg.INPUT.PIXEL_MEAN),
        list(cfg.INPUT.PIXEL_STD),
        list(cfg.INPUT.TRANSFORMS),
    ]
    pictures = [identity.images(name) for name in _tests(engine)]
    return digest(
        [
            ZERO_SHOT_VERSION,
            engine.plan.spec.phi,
            identity.weights,
            pictures,
            read,
            _template(engine),
            *changed_positions(resampling_of(engine.plan.spec)).values(),
        ]
    )


def _template(engine: Engine) -> str:
    return template_of(engine.cfgs["alpha"].DATASET.NAME)


def _record(engine: Engine, key: str, tests: list[str]) -> dict[str, Any]:
    """Return the record of a run, measured now."""
    plan, identity = engine.plan, engine.identity
    rows = []
    for name, size in (("native", plan.native_size), ("phi", plan.spec.phi)):
        engine.say(f"[zero-shot] CLIP at {size}")
        rows.append(_row(engine, name, size, tests))
        told = (f"{test} {s['accuracy']:.2f} %" for test, s in rows[-1]["targets"].items())
        engine.say(f"  {', '.join(told)}")
    facts: dict[str, Any] = {
        "kind": "run",
        "stage": None,
        "method": METHOD,
        "trainer": TRAINER,
        "shots": 0,
        "seed": 0,
        "parents": {},
    }
    common = common_fields(
        plan, identity, "run", key, plan.stages["alpha"], engine.cfgs["alpha"], EVERY_CLASS
    )
    more = {
        "templates": [_template(engine)],
        "targets": target_facts(plan, identity, tests),
        "test_sets": test_lists(plan, identity, tests),
        "stages": {},
        "rows": rows,
        "config": {},
    }
    return dict(common) | facts | more | {"phi": plan.spec.phi}


def _row(engine: Engine, name: str, size: int, tests: list[str]) -> RowFacts:
    """Return one row: CLIP at `size` pixels on every test."""
    spec, cfg = engine.plan.spec, engine.cfgs["alpha"]
    meter = Meter(cuda=cfg.USE_CUDA)
    scores: dict[str, ScoreFacts] = {}
    with meter:
        model = clip_at(spec.weights, size, resampling_of(spec)).to(device_of(cfg))
        images = _image_features(engine, model, size)
        predicted = {test: _predicted(engine, model, test, images) for test in tests}
    for test, classes in predicted.items():
        # pictures are embedded once, for all tests together
        first = test == EVERY_CLASS
        labels = [item.label for item in engine.identity.dataset(test).test]
        seconds, peak = (meter.seconds, meter.peak_memory_mb) if first else (None, None)
        cost = {"seconds": seconds, "peak_memory_mb": peak, "key": None}
        scores[test] = cast(ScoreFacts, score_facts(labels, classes) | cost)
    row: RowFacts = {
        "name": name,
        "label": f"zero-shot CLIP at {size}",
        "train_size": None,
        "test_size": size,
        "parameters": 0,
        "seconds": 0.0,
    }
    return row | scored(engine.plan.protocol, roles(engine.plan), scores)


def clip_at(weights: str, size: int, resampling: str) -> HostModel:
    """Return the frozen fp32 CLIP of some weights for square inputs of `size` pixels.

    Args:
        resampling: of the positional embedding, a name of `RESAMPLINGS`.
    """
    import_clip()
    build_model = importlib.import_module("clip.model").build_model
    state = dict(load_clip_state_dict(weights))
    grid_size = size // describe(state)["patch"]
    state[POSITIONS] = resample_pos_embed(state[POSITIONS], grid_size, resampling)
    return build_model(state).float().requires_grad_(False).eval()


@torch.no_grad()
def _image_features(engine: Engine, model: HostModel, size: int) -> dict[str, Tensor]:
    """Return the normalised feature (D_v,) of every test picture, by its path."""
    cfg, dataset = engine.cfgs["alpha"], engine.identity.dataset(EVERY_CLASS)
    found = []
    for batch in host_test_loader(cfg, dataset, size):
        images = batch["img"].to(device_of(cfg))
        found.append(F.normalize(model.encode_image(images), dim=-1).cpu())
    return dict(zip((item.impath for item in dataset.test), torch.cat(found), strict=True))


@torch.no_grad()
def _predicted(
    engine: Engine, model: HostModel, subset: str, images: dict[str, Tensor]
) -> list[int]:
    """Return the predicted label of each test picture of a subset."""
    dataset, template = engine.identity.dataset(subset), _template(engine)
    prompts = [template.format(name.replace("_", " ")) for name in dataset.classnames]
    tokens = import_clip().tokenize(prompts).to(device_of(engine.cfgs["alpha"]))
    texts = F.normalize(
        torch.cat([model.encode_text(part) for part in tokens.split(64)]), dim=-1
    ).cpu()  # (C, D_v)
    features = torch.stack([images[item.impath] for item in dataset.test])  # (N, D_v)
    return (features @ texts.T).argmax(1).tolist()
