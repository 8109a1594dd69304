"""A finished run whose students and models are built when they are asked for.

Its folder says what to build, its checkpoints hold what was learned. Neither the training pictures
nor the dataset's folder is needed.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.attach import AttachedHost, attach_host
from loreal_plugin.attributes import load_attributes
from loreal_plugin.config import flatten, with_settings
from loreal_plugin.errors import CheckpointError, ConfigError, WeightsError, unknown_name
from loreal_plugin.inference.builder import ModeBuilder
from loreal_plugin.inference.deployed import Deployed
from loreal_plugin.method.correction import correction_from_tensors
from loreal_plugin.method.loreal import Loreal
from loreal_plugin.method.meta_nets import MetaNets
from loreal_plugin.options import INFERENCE_ONLY, LorealOptions
from loreal_plugin.runs.deployment import Deployment, read_deployment
from loreal_plugin.runs.engine import quietly
from loreal_plugin.runs.find_run import find_run, host_folder
from loreal_plugin.runs.prepare import using_weights
from loreal_plugin.students.share import share_clip_tensors
from loreal_plugin.students.slots import with_slots
from loreal_plugin.students.student import Student, build_student
from loreal_plugin.trainer.checkpoint import NAME, file_name, read_checkpoint
from loreal_plugin.trainer.data import resized


@dataclass(eq=False)
class TrainedRun:
    """A finished run whose parts are built when they are asked for.

    Attributes:
        folder: of stage 3.
        record: the run's results.json.
        out: output folder with the other stages; None where the run was copied alone.
        host: the attached host.
        weights: name or file of the CLIP weights.
        device: where models go.
        tensors, checkpoint: stage 3's checkpoint.
        deployment: what else a prediction needs.
    """

    folder: Path
    record: dict[str, Any]
    out: Path | None
    host: AttachedHost
    weights: str
    device: torch.device
    tensors: dict[str, Tensor]
    checkpoint: dict[str, Any]
    deployment: Deployment

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        host: str | None = None,
        weights: str | None = None,
        device: torch.device | str = "cpu",
    ) -> TrainedRun:
        """Return the run in a folder; arguments and errors as in `load_run.load_run`."""
        from loreal_plugin.weights import weights_fingerprint

        folder, record, out = find_run(path)
        weights = weights or record["weights"]["name"]
        if weights_fingerprint(weights) != record["weights"]["sha256"]:
            raise WeightsError(
                f"weights '{weights}' are not those of the run; name its file with --weights"
            )
        stages = record.get("stages") or {"loreal": record}
        epochs = int(stages["loreal"]["epochs"])
        tensors, checkpoint = read_checkpoint(folder / NAME / file_name(epochs))
        deployment = read_deployment(folder, record, checkpoint)
        attached = attach_host(host_folder(record, host), record["method"])
        parts = attached, weights, torch.device(device), tensors, checkpoint, deployment
        return cls(folder, record, out, *parts)

    # ---- what the run says -----------------------------------------------------------------------

    @cached_property
    def options(self) -> LorealOptions:
        """The options that stage 3 was trained with."""
        known = {f.name for f in dataclasses.fields(LorealOptions)}
        stored = self.checkpoint["options"]
        return LorealOptions(**{name: value for name, value in stored.items() if name in known})

    @property
    def tested_options(self) -> LorealOptions:
        """The options with the inference mode that the run was tested in."""
        tested = self.record.get("inference") or {"INFERENCE": "exact"}
        settings = {key.lower(): v for key, v in tested.items() if key in INFERENCE_ONLY}
        return dataclasses.replace(self.options, **settings)

    @property
    def phi(self) -> int:
        """Side of the low-resolution input in pixels."""
        return int(self.checkpoint["phi"])

    @property
    def native_size(self) -> int:
        """Side of the standard input in pixels."""
        return int(self.record["native_size"])

    def names_of(self, classes: str | Sequence[str]) -> list[str]:
        """Return class names: of a test set of the run, or the given ones.

        Raises:
            ConfigError: no such test set, or no class name.
        """
        known = self.deployment.classnames
        if not isinstance(classes, str):
            if not classes:
                raise ConfigError("classes: at least one class name is needed, got none")
            return list(classes)
        name = classes or self.deployment.trained_on
        if name not in known:
            raise ConfigError(unknown_name("test set of the run", name, known))
        return list(known[name])

    def words_for(self, classnames: Sequence[str]) -> list[Any]:
        """Return the attributes in the slots, K for all classes or K for every class."""
        trained_on = self.checkpoint["classnames"]
        if self.options.attribute_scope != "class" or list(classnames) == trained_on:
            return self.checkpoint["words"]
        o = self.options
        found = load_attributes(o.attributes, self.checkpoint["dataset"])
        return found.select_per_class(list(classnames), o.n_attributes, o.attr_shuffle_seed)

    def cfg_for(self, classnames: Sequence[str]) -> Any:
        """Return the configuration that students of these classes are built from."""
        contract = self.host.contract
        argv = ["--trainer", contract.loreal_trainer, "MODEL.BACKBONE.NAME", repr(self.weights)]
        cfg = self.host.setup_cfg(argv)
        known = flatten(cfg)
        # keys that a release has dropped since say nothing any more
        kept = {key: v for key, v in self.deployment.settings.items() if key in known}
        wanted = ("INPUT.", "DATASET.NAME", f"TRAINER.{contract.cfg_node}.", "TASK")
        settings = {key: value for key, value in kept.items() if key.startswith(wanted)}
        settings["TRAINER.LOREAL.POSITION_RESAMPLING"] = self.options.position_resampling
        trained = list(classnames) == self.names_of("")
        subset = self.deployment.settings["DATASET.SUBSAMPLE_CLASSES"]
        # MMRL predicts classes that it was not trained on from its class feature alone.
        settings["DATASET.SUBSAMPLE_CLASSES"] = subset if trained or subset == "all" else "new"
        return with_settings(cfg, settings)

    # ---- students and models ---------------------------------------------------------------------

    def student(
        self, size: int, classnames: Sequence[str], stage: str, learned: Any = None
    ) -> Student:
        """Return a student at an input size with what a stage learned, without slots.

        Args:
            stage: `alpha` or `beta`: whose folder has the learned tensors.
            learned: the tensors themselves, where they are at hand.

        Raises:
            CheckpointError: the stage's folder is not there.
        """
        folder = None
        if learned is None:
            facts = (self.record.get("stages") or {}).get(stage)
            if self.out is None or facts is None:
                raise CheckpointError(
                    f"{self.folder} was copied without the folder of stage '{stage}', which is"
                    " needed here; open the run in its output folder"
                )
            folder = self.out / facts["folder"]
        cfg = self.cfg_for(classnames)
        epoch = getattr(self.options, f"{stage}_epoch")
        with using_weights(self.weights):
            return quietly(
                lambda: build_student(
                    self.host,
                    cfg,
                    classnames,
                    self.device,
                    input_size=size,
                    checkpoint_dir=folder,
                    epoch=epoch,
                    learned=learned,
                )
            )

    def beta(self, classnames: Sequence[str]) -> Student:
        """Return the student at phi, without slots."""
        same = self.options.students == "same" and self.deployment.learned is None
        stage = "alpha" if same else "beta"
        return self.student(self.phi, classnames, stage, self.deployment.learned)

    def model(self, classnames: Sequence[str], *, with_alpha: bool = False) -> Loreal:
        """Return the trained model for these classes.

        Args:
            with_alpha: also the student at the native size; needs stage 1's folder.
        """
        o, words = self.options, self.words_for(classnames)
        beta, alpha = self.beta(classnames), None
        if with_alpha:
            plain = self.student(self.native_size, classnames, "alpha")
            share_clip_tensors(plain, beta)
            alpha = with_slots(plain, words, o)
            alpha.mean = self.tensors.get("means.alpha")
        beta = with_slots(beta, words, o)
        beta.mean = self.tensors.get("means.beta")
        identity = self.checkpoint["identity"]
        names = ("n_attributes", "visual_dim", "hidden_dim", "text_dim")
        sizes = {name: identity[name] for name in names}
        nets = MetaNets(**sizes, bias=identity["meta_bias"]).to(self.device)
        nets.load_state_dict({name: self.tensors[name] for name in nets.state_dict()})
        nets.requires_grad_(False)
        fusion = self.host.contract.use_fusion(beta.cfg)
        model = Loreal(alpha, beta, nets, o, fusion=fusion).eval()
        model.correction = correction_from_tensors(self.tensors)
        return model

    def deployed(
        self,
        classes: str | Sequence[str] = "",
        inference: str | None = None,
        training_features: Callable[[], Tensor] | None = None,
    ) -> Deployed:
        """Return what predicts; arguments as in `load_run`.

        Args:
            training_features: returns beta's features (N, F, D_v) of the training pictures, for
                modes whose tables are not stored yet.
        """
        names = self.names_of(classes)
        model = self.model(names)
        host = self.host
        facts = {
            "backbone": self.record["weights"]["sha256"],
            "host": {
                "host": host.revision,
                "shims": list(host.shims),
                "clip": host.clip_version,
            },
        }
        missing = training_features or self._no_pictures
        modes = ModeBuilder(model, self.folder / NAME, facts, missing)
        transform = self.transform(modes.beta.cfg, self.phi)
        deployed = Deployed(model, modes, transform, self.facts())
        o = self.tested_options
        options = dataclasses.replace(o, inference=inference or o.inference)
        if options.inference != "exact":
            deployed.use(options)
        return deployed

    def facts(self) -> dict[str, Any]:
        """Return which run this is, in JSON's types."""
        names = ("key", "method", "phi", "native_size", "seed", "shots", "dataset", "weights")
        return {name: self.record[name] for name in names}

    def transform(self, cfg: Any, size: int) -> Callable[[Any], Tensor]:
        """Return the host's test transform at a size."""
        build = importlib.import_module("dassl.data.transforms").build_transform
        return quietly(lambda: build(resized(cfg, size), is_train=False))

    def _no_pictures(self) -> Tensor:
        raise CheckpointError(
            "this inference mode needs statistics of the training pictures, and none are stored in"
            f" {self.folder / NAME}; run loreal calibrate where the pictures are, or use exact"
        )
