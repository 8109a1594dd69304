"""Measures the rivals of a run on its own frozen students and pictures.

Corrections are fitted on as many augmented views of a training picture as stage 3 sees: they have
its data.
"""

from __future__ import annotations

import importlib
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.attach.clip_source import using_weights
from loreal_plugin.config import flatten, with_settings
from loreal_plugin.contract import PLAIN_METHOD, get_contract
from loreal_plugin.errors import CheckpointError, ConfigError
from loreal_plugin.files import digest, read_checked, write_checked
from loreal_plugin.results.protocols import BASE2NEW, Protocol
from loreal_plugin.results.record import RowFacts, is_complete, read_results, write_record
from loreal_plugin.runs.engine import Engine, Say
from loreal_plugin.runs.folders import run_folder
from loreal_plugin.runs.keys import METHOD_VERSION, changed_positions
from loreal_plugin.runs.locks import stage_lock
from loreal_plugin.runs.logs import quietly
from loreal_plugin.runs.plan import Stage
from loreal_plugin.runs.prepare import prepare, say_line
from loreal_plugin.runs.records import head, roles, scored, target_facts, test_lists
from loreal_plugin.runs.resampling import resampling_of
from loreal_plugin.runs.rival_methods import Embeddings, RivalScore, embed, score_rivals, upsampled
from loreal_plugin.runs.spec import RunSpec
from loreal_plugin.runs.trained_stage import TrainedStage
from loreal_plugin.students.embedding_cache import encode_views
from loreal_plugin.students.student import Student
from loreal_plugin.students.views import StudentViews, build_recipe
from loreal_plugin.trainer.data import ENCODE_BATCH

RIVALS_VERSION = 4
# Zero-shot CLIP's rows, in the folder of a trainer of this name: runs of all methods read them.
CLIP, ZERO_SHOT = "CLIP", "zero_shot.json"


def run_rivals(
    spec: RunSpec, *, protocol: Protocol = BASE2NEW, say: Say = say_line
) -> dict[str, Any]:
    """Measure zero-shot CLIP, alpha and beta with each correction; return and store the record.

    Args:
        protocol: whose stages and test sets.

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
        return _run(engine, say)


def _run(engine: Engine, say: Say) -> dict[str, Any]:
    """Return the record, measured unless it is there; see `run_rivals`."""
    plan, spec = engine.plan, engine.plan.spec
    alpha, beta = plan.stages["alpha"], plan.stages["beta"]
    keys = [engine.identity.stage_key(stage.name) for stage in (alpha, beta)]
    for number, stage in zip((1, 2), (alpha, beta), strict=True):
        if engine.finished(stage) is None:
            raise CheckpointError(
                f"stage {number} ({stage.title}) is not in {stage.folder};"
                f" run {plan.protocol.script}.sh first"
            )
    folder = _folder(engine, alpha.trainer)
    views = engine.identity.options.cache_views or 1
    tests = {name: engine.identity.images(name) for name in plan.tests}
    own_key = digest([*keys, spec.phi, tests, views, RIVALS_VERSION])
    with stage_lock(folder, say):
        if not is_complete(folder, own_key):
            rows = _zero_shot(engine, alpha, say) + [
                _row(engine, s) for s in _measure(engine, alpha, beta, say)
            ]
            cfg = engine.cfgs["alpha"]
            record = dict(head(plan, engine.identity, "rivals", own_key, alpha, cfg))
            record |= {"protocol": plan.protocol.name, "rows": rows, "views": views}
            record["test_sets"] = test_lists(plan, engine.identity)
            if not plan.protocol.halves:
                record["targets"] = target_facts(plan, engine.identity)
            write_record(folder, record)
        return read_results(folder) or {}


def _folder(engine: Engine, trainer: str) -> Path:
    """Return where rivals of a trainer lie."""
    spec, label = engine.plan.spec, engine.plan.stages["alpha"].folder.parent.name
    return run_folder(
        spec, "rivals", trainer, label, f"phi{spec.phi}", protocol=engine.plan.protocol.name
    )


def _zero_shot(engine: Engine, alpha: Stage, say: Say) -> list[RowFacts]:
    """Return the rows of zero-shot CLIP, measured once for all methods whose runs read pictures in
    the same way.
    """
    say("[rivals 1/3] zero-shot CLIP")
    spec, folder = engine.plan.spec, _folder(engine, CLIP)
    model = _Model(engine, alpha, zero_shot=True)
    cfg = model.config(engine.plan.source, spec.phi)
    facts = {
        "weights": engine.identity.weights,
        "images": {name: engine.identity.images(name) for name in engine.plan.tests},
        "sizes": [spec.phi, engine.plan.native_size],
        "views": [engine.identity.options.cache_views or 1, spec.seed],
        "input": {key: value for key, value in flatten(cfg).items() if key.startswith("INPUT.")},
        "precision": cfg.TRAINER[model.host.contract.cfg_node].PREC,
        "host": engine.identity.host_facts()["code"],
        "version": [METHOD_VERSION, RIVALS_VERSION],
        **changed_positions(resampling_of(spec)),
    }
    key = digest(facts)
    with stage_lock(folder, say):
        found, _ = read_checked(folder / ZERO_SHOT)
        if found.get("key") != key:
            found = {
                "key": key,
                "rows": [_row(engine, score) for score in model.score("zero-shot", "zero-shot")],
            }
            write_checked(folder / ZERO_SHOT, found)
    return found["rows"]


def _row(engine: Engine, score: RivalScore) -> RowFacts:
    """Return a rival's row in the form of a run's."""
    row: RowFacts = {
        "name": score.name,
        "label": score.label,
        "model": score.model,
        "correction": score.correction,
        "milliseconds": score.milliseconds,
    }
    return row | scored(engine.plan.protocol, roles(engine.plan), score.scores)


def _measure(engine: Engine, alpha: Stage, beta: Stage, say: Say) -> list[RivalScore]:
    """Return the scores of alpha, then of beta."""
    say(f"[rivals 2/3] {alpha.title}")
    trained = _Model(engine, alpha, zero_shot=False)
    rows = trained.score(alpha.name, f"{alpha.trainer} trained at {alpha.size}")
    say(f"[rivals 3/3] {beta.title}")
    # beta is pulled to where alpha's embeddings lie; enlarged pictures are alpha's business
    rows += _Model(engine, beta, zero_shot=False).score(
        beta.name, f"{beta.trainer} trained at {beta.size}", towards=trained
    )
    return rows


class _Model:
    """One frozen model at the native size and at phi, and the pictures it is measured on.

    Zero-shot CLIP is CoOp's model before training: its context is "a photo of a".
    """

    def __init__(self, engine: Engine, stage: Stage, *, zero_shot: bool) -> None:
        self.engine, self.stage = engine, stage
        self.phi, self.native = engine.plan.spec.phi, engine.plan.native_size
        self.host = engine.host
        if zero_shot:
            from loreal_plugin.attach import attach_host

            self.host = attach_host(engine.plan.spec.host, PLAIN_METHOD)
        self.zero_shot = zero_shot
        self.source = engine.plan.source
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        learned = None if zero_shot else stage.folder
        self.trained = TrainedStage(self.host, engine.plan.spec.weights, self.device, learned)

    def score(self, model: str, text: str, towards: _Model | None = None) -> list[RivalScore]:
        """Return the rows of this model.

        Args:
            model: its name in records.
            text: its name for people.
            towards: the model whose embeddings at the native size are the goal of the corrections,
                where it is another than this one; there is no up-sampled row then.
        """
        at_phi = {s: self._student(s, self.phi) for s in self.engine.plan.tests}
        low = at_phi[self.source].encode_image
        test = {s: {"low": self._embed(low, s, self.phi)} for s in at_phi}
        if towards is None:
            enlarge = upsampled(self._student(self.source, self.native).encode_image, self.native)
            for s in test:
                test[s]["upsampled"] = self._embed(enlarge, s, self.phi)
        train = {
            "low": self._embed_views(low, self.phi),
            "standard": (towards or self).native_views,
        }
        for student in at_phi.values():
            _ = student.host_texts  # made before the clock of a picture runs

        def classify(subset: str, features: Tensor) -> Tensor:
            return at_phi[subset].host_logits(features)

        return score_rivals(model, text, train=train, test=test, classify=classify)

    def config(self, subset: str, size: int) -> Any:
        """Return the host's config for the test set `subset` at `size`."""
        cfg = self.engine.resolve(self.stage, subset=subset)
        settings = {"INPUT.SIZE": (size, size)}
        if self.zero_shot:
            plain = self.host.contract
            precision = cfg.TRAINER[self.engine.host.contract.cfg_node].PREC
            chosen = {**plain.zero_shot_options, "PREC": precision}
            settings |= {f"TRAINER.{plain.cfg_node}.{key}": v for key, v in chosen.items()}
        return with_settings(cfg, settings)

    def _student(self, subset: str, size: int) -> Student:
        """Return this model for the classes of the test set `subset` at `size`."""
        names = self.engine.identity.dataset(subset).classnames
        return self.trained.student(self.config(subset, size), names, size)

    @cached_property
    def native_views(self) -> Embeddings:
        """Return the embeddings of the training views at the native size."""
        return self._embed_views(self._student(self.source, self.native).encode_image, self.native)

    def _embed_views(self, encode: Any, size: int) -> Embeddings:
        """Return embeddings of the views of the training pictures that stage 3 sees, at `size`."""
        spec, pictures = self.engine.plan.spec, self.engine.identity.dataset(self.source).train_x
        n_views = self.engine.identity.options.cache_views or 1
        views = StudentViews(
            pictures, size, n_views, build_recipe(self.config(self.source, size)), spec.seed
        )
        start = time.perf_counter()
        title = f"{len(pictures)} x {n_views} training views at {size}"
        features = encode_views(
            encode, views, batch_size=ENCODE_BATCH, device=self.device, title=title
        ).float()
        labels = torch.tensor([item.label for item in pictures]).repeat_interleave(n_views)
        return Embeddings(features.flatten(0, 1), labels, time.perf_counter() - start)

    def _embed(self, encode: Any, subset: str, size: int) -> Embeddings:
        """Return embeddings of the pictures of a test set."""
        cfg, dataset = self.config(subset, size), self.engine.identity.dataset(subset)
        data = importlib.import_module("dassl.data.data_manager")
        transforms = importlib.import_module("dassl.data.transforms")
        loader = data.build_data_loader(
            cfg,
            data_source=dataset.test,
            batch_size=cfg.DATALOADER.TEST.BATCH_SIZE,
            tfm=quietly(lambda: transforms.build_transform(cfg, is_train=False)),
            is_train=False,
        )
        return embed(lambda images: encode(images.to(self.device)).cpu(), loader)
