"""Opening a finished LOREAL run: its record says what to build, its stages hold the checkpoints.

Shapes: B images, C classes, F features an image, D_v joint width.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.config import with_settings
from loreal_plugin.data.storage import saves_held_back
from loreal_plugin.errors import CheckpointError, HostError, WeightsError
from loreal_plugin.method.loreal import Loreal
from loreal_plugin.options import flatten
from loreal_plugin.results.record import RESULTS, read_results
from loreal_plugin.runs.base2new import say_line, using_weights
from loreal_plugin.runs.engine import Engine, load_checkpoint, quietly
from loreal_plugin.runs.plan import Plan, build_plan
from loreal_plugin.runs.spec import RunSpec, build_spec
from loreal_plugin.students.share import share_clip_tensors
from loreal_plugin.students.student import Student, build_student
from loreal_plugin.students.views import read_picture
from loreal_plugin.trainer.data import resized

Say = Callable[[str], None]


def read_run(path: Path) -> tuple[Path, dict[str, Any]]:
    """Return the output folder that a run lies in, and the run's record.

    Args:
        path: the run's results.json, or the folder it lies in.

    Raises:
        CheckpointError: there is no record of a whole LOREAL run, or its stages are not where it
            says.
    """
    folder = (path.parent if path.name == RESULTS else path).expanduser().resolve()
    record = read_results(folder)
    if record is None:
        raise CheckpointError(
            f"no finished run in {folder}: wanted a whole {RESULTS}; name the folder of stage 3 "
            "(.../train_base/.../<X>_LOREAL/phi<N>/<cfg>/seed<S>), or run base2new_train.sh first"
        )
    stages = record.get("stages") or {}
    if "loreal" not in stages:
        found = f"{record['kind']} {record.get('stage') or ''}".strip()
        raise CheckpointError(
            f"{folder / RESULTS} is the record of '{found}'; a run with stage 3 is needed"
        )
    inside = stages["loreal"]["folder"]
    for out in folder.parents:
        if (out / inside).is_dir():
            return out, record
    raise CheckpointError(
        f"the run in {folder} wrote stage 3 to OUT/{inside}, which is not there; keep the folders"
        " of an output together"
    )


@dataclass(eq=False)
class OpenRun:
    """A finished run, its model loaded, on the classes of one dataset.

    Attributes:
        record: the run's results.json.
        spec: what the run was asked for, `dataset` being the one that is looked at.
        host: the attached host.
        trainer: the built `<X>_LOREAL` trainer with stage 3's checkpoint.
        alpha_dir: output folder of stage 1.
        classes: which classes the prompts name: `base`, `new` or `all`.
    """

    record: dict[str, Any]
    spec: RunSpec
    host: Any
    trainer: Any
    alpha_dir: Path
    classes: str

    @property
    def model(self) -> Loreal:
        """Both students, the meta-nets and the text paths."""
        return self.trainer.model

    @property
    def phi(self) -> int:
        """Side of the low-resolution input in pixels."""
        return self.model.beta.input_size

    @property
    def native_size(self) -> int:
        """Side of the standard input in pixels."""
        return self.model.alpha.input_size

    @property
    def classnames(self) -> list[str]:
        """C class names in the order of the logits."""
        return [name.replace("_", " ") for name in self.model.beta.classnames]

    @property
    def title(self) -> str:
        """Which run this is, in one line."""
        ours, record = self.host.contract.loreal_trainer, self.record
        return f"{ours} at {self.phi}, trained on {record['dataset']}, seed {record['seed']}"

    def items(self, part: str) -> Sequence[Any]:
        """Return the dataset's pictures, `test` or `train` (the few-shot ones), with `impath` and
        `label`.
        """
        dataset = self.trainer.dm.dataset
        return dataset.test if part == "test" else dataset.train_x

    @cached_property
    def alpha_at_phi(self) -> Student:
        """The host trained at the native size, reading pictures at phi."""
        trainer = self.trainer
        with using_weights(self.spec.weights):
            student = quietly(
                lambda: build_student(
                    self.host,
                    trainer.cfg,
                    trainer.dm,
                    trainer.device,
                    input_size=self.phi,
                    checkpoint_dir=self.alpha_dir,
                    epoch=self.model.options.alpha_epoch,
                )
            )
        share_clip_tensors(self.model.alpha, student)
        return student

    @cached_property
    def _transforms(self) -> dict[int, Callable[[Any], Tensor]]:
        build = importlib.import_module("dassl.data.transforms").build_transform
        cfgs = {size: resized(self.trainer.cfg, size) for size in (self.native_size, self.phi)}
        return quietly(lambda: {size: build(cfg, is_train=False) for size, cfg in cfgs.items()})

    def pixels(self, path: str, size: int) -> Tensor:
        """Return a picture file as the host's test transform gives it, (1, 3, size, size), on the
        model's device.

        Raises:
            DataError: the file is missing or broken.
        """
        return self._transforms[size](read_picture(path))[None].to(self.trainer.device)

    def shown(self, pixels: Tensor) -> Tensor:
        """Return transformed pixels (1, 3, S, S) as colours (S, S, 3) in [0, 1]."""
        given = self.trainer.cfg.INPUT
        colours = pixels[0].float().cpu()
        if "normalize" in given.TRANSFORMS:
            mean, std = (
                torch.tensor(v)[:, None, None] for v in (given.PIXEL_MEAN, given.PIXEL_STD)
            )
            colours = colours * std + mean
        return colours.clamp(0, 1).permute(1, 2, 0)

    @torch.no_grad()
    def host_logits(self, student: Student, features: Tensor) -> Tensor:
        """Return the logits (B, C) of the host alone for features (B, F, D_v): its own prompts,
        without slots.
        """
        shift = student.prompt_shift(features)
        if shift is not None:
            texts = torch.stack([self._host_texts(student, of_image) for of_image in shift])
        else:
            if id(student) not in self._texts:
                self._texts[id(student)] = self._host_texts(student)
            texts = self._texts[id(student)]
        return student.logits(features, texts, self.model.fusion).float()

    @staticmethod
    def _host_texts(student: Student, shift: Tensor | None = None) -> Tensor:
        """Return the host's text features (C, D_v), of prompts that an image shifts by (n, D_t)
        from row 1 on.
        """
        prompts = student.prompts()
        rows = prompts.embeddings
        if shift is not None:
            rows = rows.clone()
            rows[:, 1 : 1 + len(shift)] += shift.to(rows.dtype)
        return student.encode_text(rows, prompts.tokens)

    @cached_property
    def _texts(self) -> dict[int, Tensor]:
        return {}


def open_run(
    path: Path,
    *,
    dataset: str = "",
    classes: str = "",
    host: str | None = None,
    data: str | None = None,
    weights: str | None = None,
    say: Say = say_line,
) -> OpenRun:
    """Return a finished run with its model loaded; nothing is written.

    Args:
        path: its results.json or the folder that has it.
        dataset: another dataset than the run's to look at.
        classes: `base`, `new` or `all`; empty means those that were trained on.
        host, data, weights: as for `loreal base2new`; the record does not hold where things lie on
            this machine.

    Raises:
        LorealError: no such run, dataset, host or weights, or they do not fit each other.
    """
    from loreal_plugin.attach import attach_host
    from loreal_plugin.weights import describe, load_clip_state_dict, weights_fingerprint

    out, record = read_run(path)
    spec = _spec(record, out, dataset, host, data, weights)
    classes = classes or record["config"]["DATASET.SUBSAMPLE_CLASSES"]
    with using_weights(spec.weights), saves_held_back():
        facts, fingerprint = (
            describe(load_clip_state_dict(spec.weights)),
            weights_fingerprint(spec.weights),
        )
        if fingerprint != record["weights"]["sha256"]:
            raise WeightsError(
                f"weights '{spec.weights}' are not those of the run; name its file with --weights"
            )
        plan = build_plan(spec, native_size=facts["resolution"], patch_size=facts["patch"])
        plan = _with_folders(plan, out, record)
        attached = attach_host(spec.host, spec.method)
        say(f"loading {attached.contract.loreal_trainer} of {plan.stages['loreal'].folder}")
        trainer = quietly(
            lambda: _load(Engine(attached, plan, fingerprint, say=say), record, classes)
        )
    return OpenRun(record, spec, attached, trainer, plan.stages["alpha"].folder, classes)


def _spec(
    record: dict[str, Any],
    out: Path,
    dataset: str,
    host: str | None,
    data: str | None,
    weights: str | None,
) -> RunSpec:
    """Return the run's own description, with another dataset to look at where one is named."""
    theirs = record["host"]["name"]
    if theirs != "embedded" and not (host or os.environ.get("HOST")):
        raise HostError(
            f"the run was made on host '{theirs}'; name that checkout with --host or HOST"
        )
    named = [
        (key if scope == "all" else f"{scope}:{key}", value)
        for scope, key, value in record["overrides"]
    ]
    return build_spec(
        record["method"],
        str(record["phi"]),
        dataset or record["dataset"],
        str(record["seed"]),
        host=host
        or (str(_embedded()) if theirs == "embedded" and not os.environ.get("HOST") else None),
        data=data,
        out=str(out),
        shots=str(record["shots"]),
        weights=weights or record["weights"]["name"],
        recipe=record["recipe"],
        opts=[word for pair in named for word in pair],
    )


def _embedded() -> Path:
    from loreal_plugin.paths import embedded_host

    return embedded_host()


def _with_folders(plan: Plan, out: Path, record: dict[str, Any]) -> Plan:
    """Return a plan whose stages lie where the record says, whatever dataset is looked at."""
    found = {
        name: facts["folder"] for name, facts in record["stages"].items() if name in plan.stages
    }
    stages = {
        n: replace(s, folder=out / found[n]) if n in found else s for n, s in plan.stages.items()
    }
    return replace(plan, stages=stages)


def _load(engine: Engine, record: dict[str, Any], classes: str) -> Any:
    """Return the trainer of stage 3 with its last checkpoint, built for `classes`."""
    stage = engine.plan.stages["loreal"]
    cfg = _as_recorded(engine.resolve(stage, subset=classes), record["config"])
    importlib.import_module("dassl.utils").set_random_seed(cfg.SEED)
    trainer = engine.host.build_trainer(cfg)
    load_checkpoint(trainer, stage.folder, int(record["stages"]["loreal"]["epochs"]))
    trainer.model.eval()
    return trainer


def _as_recorded(cfg: Any, recorded: dict[str, Any]) -> Any:
    """Return a config with the run's own settings of model and input: recipes and defaults may have
    changed since.
    """
    known = flatten(cfg)
    kept = {
        k: v
        for k, v in recorded.items()
        if k in known and k.startswith(("TRAINER.", "INPUT.", "TASK"))
    }
    return with_settings(cfg, kept)
