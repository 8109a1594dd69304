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
from loreal_plugin.results.protocols import EVERY_CLASS, HALVES
from loreal_plugin.runs.deployment import Deployment, read_deployment
from loreal_plugin.runs.engine import quietly
from loreal_plugin.runs.find_run import find_run, host_folder
from loreal_plugin.runs.stage_files import check_files
from loreal_plugin.runs.trained_stage import TrainedStage
from loreal_plugin.students.share import share_clip_tensors
from loreal_plugin.students.slots import with_slots
from loreal_plugin.students.student import Student
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
        check_files(folder)
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
        """The options, with the inference mode and TEST_ATTRIBUTES of the run's tests."""
        tested = self.record.get("inference") or {"INFERENCE": "exact"}
        settings = {key.lower(): v for key, v in tested.items() if key in INFERENCE_ONLY}
        for _, key, value in self.record.get("overrides") or ():
            if key == "TRAINER.LOREAL.TEST_ATTRIBUTES":
                settings["test_attributes"] = value
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

    def dataset_of(self, classes: str | Sequence[str]) -> str:
        """Return the target dataset that a test set of the run is of; "" for classes at home."""
        home = (*HALVES, EVERY_CLASS, self.record["dataset"])
        return classes if isinstance(classes, str) and classes not in home else ""

    def words_for(self, classnames: Sequence[str], dataset: str = "") -> list[Any]:
        """Return the attributes in the slots, K for all classes or K for every class.

        Args:
            dataset: whose classes these are, where they are another dataset's than the run's.
        """
        o, elsewhere = self.tested_options, dataset not in ("", self.record["dataset"])
        at_home = list(classnames) == self.checkpoint["classnames"] and not elsewhere
        own = o.attribute_scope == "class" or (elsewhere and o.test_attributes == "target")
        if at_home or not own:
            return self.checkpoint["words"]
        found = load_attributes(o.attributes, dataset if elsewhere else self.checkpoint["dataset"])
        if o.attribute_scope == "class":
            return found.select_per_class(list(classnames), o.n_attributes, o.attr_shuffle_seed)
        return found.select(o.n_attributes, o.attr_shuffle_seed)

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
            check_files(folder)
        epoch = getattr(self.options, f"{stage}_epoch")
        place = self.host, self.weights, self.device
        opened = TrainedStage(*place, folder=folder, epoch=epoch, learned=learned)
        return opened.student(self.cfg_for(classnames), classnames, size)

    def beta(self, classnames: Sequence[str]) -> Student:
        """Return the student at phi, without slots."""
        same = self.options.students == "same" and self.deployment.learned is None
        stage = "alpha" if same else "beta"
        return self.student(self.phi, classnames, stage, self.deployment.learned)

    def model(
        self, classnames: Sequence[str], words: Sequence[Any], *, with_alpha: bool = False
    ) -> Loreal:
        """Return the trained model for these classes.

        Args:
            words: in the slots, as `words_for` gives them.
            with_alpha: also the student at the native size; needs stage 1's folder.
        """
        o = self.options
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
        *,
        words: Sequence[Any] | None = None,
        with_alpha: bool = False,
    ) -> Deployed:
        """Return what predicts; arguments as in `load_run`.

        Args:
            training_features: returns beta's features (N, F, D_v) of the training pictures, for
                modes whose tables are not stored yet.
            words, with_alpha: as for `model`; None: those that the run was tested with.
        """
        names = self.names_of(classes)
        if words is None:
            words = self.words_for(names, self.dataset_of(classes))
        model = self.model(names, words, with_alpha=with_alpha)
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
