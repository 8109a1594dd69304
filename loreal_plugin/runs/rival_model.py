"""A frozen model of which rivals are made, at every size that they read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.config import with_settings
from loreal_plugin.contract import PLAIN_METHOD
from loreal_plugin.runs.engine import Engine
from loreal_plugin.runs.loaders import host_test_loader
from loreal_plugin.runs.picture_times import blank_picture, picture_milliseconds
from loreal_plugin.runs.plan import Stage
from loreal_plugin.runs.rival_methods import (
    LOW,
    MERGED,
    UPSAMPLED,
    Embeddings,
    RivalCorrection,
    RivalScore,
    Timer,
    corrections_of,
    embed,
    score_rivals,
    upsampled,
)
from loreal_plugin.runs.trained_stage import TrainedStage
from loreal_plugin.students.build import device_of
from loreal_plugin.students.embedding_cache import encode_views
from loreal_plugin.students.share import share_clip_tensors
from loreal_plugin.students.student import Student
from loreal_plugin.students.token_merging import MergedTower
from loreal_plugin.students.views import StudentViews, build_recipe
from loreal_plugin.trainer.data import ENCODE_BATCH

Encode = Callable[[Tensor], Tensor]


class RivalModel:
    """One frozen model at the native size and at phi, and the pictures it is measured on.

    Zero-shot CLIP is CoOp's model before training: its context is "a photo of a".

    Args:
        weights: other CLIP weights than the run's, for a model that was not trained.
    """

    def __init__(self, engine: Engine, stage: Stage, *, zero_shot: bool, weights: str = "") -> None:
        self.engine, self.stage = engine, stage
        self.phi, self.native = engine.plan.spec.phi, engine.plan.native_size
        self.host = engine.host
        if zero_shot:
            from loreal_plugin.attach import attach_host

            self.host = attach_host(engine.plan.spec.host, PLAIN_METHOD)
        self.zero_shot = zero_shot
        self.source = engine.plan.source
        self.device = device_of(engine.cfgs["alpha"])
        learned = None if zero_shot else stage.folder
        self.trained = TrainedStage(
            self.host, weights or engine.plan.spec.weights, self.device, learned
        )

    @property
    def sizes(self) -> range:
        """Return the sizes to which small pictures are enlarged: every whole number of patches."""
        step = self.engine.plan.patch_size
        return range(self.phi + step, self.native + 1, step)

    def score(self, model: str, text: str, towards: RivalModel | None = None) -> list[RivalScore]:
        """Return the rows of this model.

        Args:
            model: its name in records.
            text: its name for people.
            towards: the model whose embeddings at the native size are the goal of the corrections,
                where it is another than this one; there are no up-sampled rows then.
        """
        # test sets differ in their class texts alone: one image encoder serves all of them
        at_phi = {s: self._student(s, self.phi) for s in self.engine.plan.tests}
        low = at_phi[self.source].encode_image
        encoders = {LOW: low}
        for size in self.sizes if towards is None else ():
            larger = self._student(self.source, size)
            share_clip_tensors(at_phi[self.source], larger)
            encoders[f"{UPSAMPLED} {size}"] = upsampled(larger.encode_image, size)
        if towards is None and not self.host.contract.learns_images:
            # the picture enlarged to the native size (the last of `sizes`), its tokens merged to
            # as many as the small one has
            keep = self.engine.plan.tokens(self.phi)
            blocks = larger.model.image_encoder.transformer.resblocks
            merged = MergedTower(larger.encode_image, blocks, keep)
            encoders[f"{MERGED} {keep}"] = upsampled(merged, self.native)
        train = {
            LOW: self._embed_views(low, self.phi),
            "standard": (towards or self).native_views,
        }
        return self._score(model, text, corrections_of(train, encoders), at_phi, encoders)

    def score_enlarged(self, model: str, text: str, size: int) -> RivalScore:
        """Return the row of small pictures that are enlarged to `size`, with nothing fitted."""
        students = {s: self._student(s, size) for s in self.engine.plan.tests}
        kind = f"{UPSAMPLED} {size}"
        encoders = {kind: upsampled(students[self.source].encode_image, size)}
        plain = {kind: RivalCorrection(kind, lambda f: f)}
        return self._score(model, text, plain, students, encoders)[0]

    def score_plain(self, model: str, text: str, change: str) -> RivalScore:
        """Return the row of small pictures as they are; `change` says what is new about it."""
        students = {s: self._student(s, self.phi) for s in self.engine.plan.tests}
        encoders = {LOW: students[self.source].encode_image}
        plain = {change: RivalCorrection(LOW, lambda f: f)}
        return self._score(model, text, plain, students, encoders)[0]

    def _score(
        self,
        model: str,
        text: str,
        corrections: Mapping[str, RivalCorrection],
        students: Mapping[str, Student],
        encoders: Mapping[str, Encode],
    ) -> list[RivalScore]:
        """Return a row for each correction.

        Args:
            students: this model with the classes of each test set.
            encoders: of small pictures, by kind of embeddings.
        """
        test = {name: self._embed(encoders, name) for name in students}
        classify, timer = self._classify(students), self._timer(students, encoders)
        return score_rivals(model, text, corrections, test=test, classify=classify, timer=timer)

    @staticmethod
    def _classify(students: Mapping[str, Student]) -> Callable[[str, Tensor], Tensor]:
        """Return (test set, features) -> logits; texts are made before any clock runs."""
        for student in students.values():
            _ = student.host_texts
        return lambda subset, features: students[subset].host_logits(features)

    def _timer(self, students: Mapping[str, Student], encoders: Mapping[str, Encode]) -> Timer:
        """Return what times one small picture alone with each correction."""
        classify, picture = self._classify(students), blank_picture(self.phi, self.device)

        def predict(how: RivalCorrection) -> Tensor:
            return classify(self.source, how.apply(encoders[how.kind](picture).float()))

        def timer(corrections: Mapping[str, RivalCorrection]) -> dict[str, float]:
            calls = {name: partial(predict, how) for name, how in corrections.items()}
            return picture_milliseconds(calls, self.device)

        return timer

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
        # (pictures, views, F, D_v) -> (N, F, D_v), a label for each view
        return Embeddings(features.flatten(0, 1), labels, time.perf_counter() - start)

    def _embed(self, encoders: Mapping[str, Encode], subset: str) -> dict[str, Embeddings]:
        """Return embeddings of the small pictures of a test set by encoder."""
        dataset = self.engine.identity.dataset(subset)
        loader = host_test_loader(self.config(subset, self.phi), dataset, self.phi)

        def on_device(encode: Encode) -> Encode:
            return lambda images: encode(images.to(self.device)).cpu()

        return embed({name: on_device(encode) for name, encode in encoders.items()}, loader)
