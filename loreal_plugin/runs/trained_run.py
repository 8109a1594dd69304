"""A finished run whose students and models are built when they are asked for.

Its folder says what to build, its checkpoints hold what was learned. Neither the training pictures
nor the dataset's folder is needed.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.adapt.files import settings_of
from loreal_plugin.adapt.use import use_adaptation
from loreal_plugin.attach import AttachedHost, attach_host
from loreal_plugin.config import flatten, is_method_key, with_settings
from loreal_plugin.errors import CheckpointError, WeightsError
from loreal_plugin.files.packed import packed_weights
from loreal_plugin.inference.builder import ModeBuilder
from loreal_plugin.inference.deployed import Deployed
from loreal_plugin.method.correction import correction_from_tensors
from loreal_plugin.method.loreal import Loreal
from loreal_plugin.method.meta_nets import MetaNets
from loreal_plugin.runs.deployment import read_deployment
from loreal_plugin.runs.find_run import ADAPTED, LOREAL, check_owner, find_run, host_folder
from loreal_plugin.runs.logs import quietly
from loreal_plugin.runs.run_facts import RunFacts
from loreal_plugin.runs.stage_files import check_files
from loreal_plugin.runs.trained_stage import TrainedStage
from loreal_plugin.students.share import share_clip_tensors
from loreal_plugin.students.student import Student, with_slots
from loreal_plugin.trainer.checkpoint import NAME, file_name, read_checkpoint
from loreal_plugin.trainer.data import resized


@dataclass(eq=False)
class TrainedRun(RunFacts):
    """A finished run whose parts are built when they are asked for.

    Attributes:
        record, checkpoint, deployment: what the run says, see `RunFacts`.
        folder: of stage 3.
        out: output folder with the other stages; None where the run was copied alone.
        host: the attached host.
        weights: name or file of the CLIP weights.
        device: where models go.
        tensors: of stage 3's checkpoint.
        stage: which stage 3 it is, `loreal` or `adapted`.
    """

    folder: Path
    out: Path | None
    host: AttachedHost
    weights: str
    device: torch.device
    tensors: dict[str, Tensor]
    stage: str

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        host: str | None = None,
        weights: str | None = None,
        device: torch.device | str = "cpu",
        row: str = "",
    ) -> TrainedRun:
        """Return the run in a folder; arguments and errors as in `load_run.load_run`."""
        from loreal_plugin.weights import weights_fingerprint

        folder, stage, record, out = find_run(path, row)
        weights = weights or packed_weights(folder) or record["weights"]["name"]
        if weights_fingerprint(weights) != record["weights"]["sha256"]:
            raise WeightsError(
                f"weights '{weights}' are not those of the run; name its file with --weights"
            )
        attached = attach_host(host_folder(record, host), record["method"])
        place = torch.device(device)
        return cls.at(folder, record, out, attached, weights, place, stage=stage)

    @classmethod
    def at(
        cls,
        folder: Path,
        record: dict[str, Any],
        out: Path | None,
        host: AttachedHost,
        weights: str,
        device: torch.device,
        *,
        stage: str,
    ) -> TrainedRun:
        """Return the run whose stage 3, `loreal` or `adapted`, is in a folder.

        Arguments are as the attributes.

        Raises:
            CheckpointError: what stage 3 left is missing or damaged.
        """
        stages = record.get("stages") or {stage: record}
        epochs = int(stages[stage]["epochs"])
        check_files(folder)
        tensors, checkpoint = read_checkpoint(folder / NAME / file_name(epochs))
        deployment = read_deployment(folder, record, checkpoint)
        parts = record, checkpoint, deployment, folder, out, host, weights, device, tensors
        return cls(*parts, stage)

    # ---- students and models ---------------------------------------------------------------------

    def cfg_for(self, classnames: Sequence[str], of_dataset: str = "") -> Any:
        """Return the configuration that students of these classes are built from.

        Args:
            of_dataset: the host's name of the dataset whose test set has these classes; empty: that
                of the training, or of the test set of the run that has them.
        """
        contract, names = self.host.contract, list(classnames)
        stored = self.deployment.settings
        argv = ["--trainer", contract.loreal_trainer, "MODEL.BACKBONE.NAME", repr(self.weights)]
        # some hosts set further keys by the dataset, and fail on one that they do not know
        argv += ["DATASET.NAME", repr(of_dataset or stored["DATASET.NAME"])]
        cfg = self.host.setup_cfg(argv)
        known = flatten(cfg)
        wanted = ("INPUT.", "DATASET.NAME", "TASK")
        # keys that a release has dropped since say nothing any more
        settings = {
            key: value
            for key, value in stored.items()
            if (key.startswith(wanted) or is_method_key(key, contract.counted_node))
            and key in known
        }
        settings["TRAINER.LOREAL.POSITION_RESAMPLING"] = self.options.position_resampling
        # MMRL chooses by these keys what it predicts from: where it was trained on ImageNet, or
        # knows the classes, from both of its features, else from its class feature alone
        if of_dataset:
            settings["DATASET.NAME"] = of_dataset
        subset, of_training = stored["DATASET.SUBSAMPLE_CLASSES"], names == self.names_of("")
        settings["DATASET.SUBSAMPLE_CLASSES"] = subset if of_training or subset == "all" else "new"
        if not of_dataset and names not in self.deployment.classnames.values():  # a user's own
            settings |= {"DATASET.SUBSAMPLE_CLASSES": "new", **contract.cli_defaults}
        return with_settings(cfg, settings)

    def student(
        self,
        size: int,
        classnames: Sequence[str],
        stage: str,
        learned: Any = None,
        enlarge: int = 0,
        of_dataset: str = "",
    ) -> Student:
        """Return a student at an input size with what a stage learned, without slots.

        Args:
            stage: `alpha` or `beta`: whose folder has the learned tensors.
            learned: the tensors themselves, where they are at hand.
            enlarge: side to which the student enlarges its pictures; 0: it does not.
            of_dataset: as for `cfg_for`.

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
            check_owner(folder, facts.get("key"))
            check_files(folder)
        epoch = getattr(self.options, f"{stage}_epoch")
        place = self.host, self.weights, self.device
        opened = TrainedStage(*place, folder=folder, epoch=epoch, learned=learned)
        return opened.student(self.cfg_for(classnames, of_dataset), classnames, size, enlarge)

    def beta(self, classnames: Sequence[str], of_dataset: str = "") -> Student:
        """Return the student at phi, without slots; `of_dataset` as for `cfg_for`."""
        same = self.options.students == "same" and self.deployment.learned is None
        stage = "alpha" if same else "beta"
        note = self.deployment.adaptation_note
        enlarge = settings_of(note).enlarge if self.deployment.adaptation else 0
        learned = self.deployment.learned
        return self.student(self.phi, classnames, stage, learned, enlarge, of_dataset)

    def model(
        self,
        classnames: Sequence[str],
        words: Sequence[Any],
        *,
        with_alpha: bool = False,
        of_dataset: str = "",
    ) -> Loreal:
        """Return the trained model for these classes.

        Args:
            words: in the slots, as `words_for` gives them.
            with_alpha: also the student at the native size; needs stage 1's folder.
            of_dataset: as for `cfg_for`.
        """
        o = self.options
        beta, alpha = self.beta(classnames, of_dataset), None
        if with_alpha:
            plain = self.student(self.native_size, classnames, "alpha", of_dataset=of_dataset)
            share_clip_tensors(plain, beta)
            alpha = with_slots(plain, words, o)
            alpha.mean = self.tensors.get("means.alpha")
        if self.deployment.adaptation:  # after sharing: what is adapted is beta's own
            use_adaptation(beta, self.deployment.adaptation, self.deployment.adaptation_note)
        beta = with_slots(beta, words, o)
        beta.mean = self.tensors.get("means.beta")
        identity = self.checkpoint["identity"]
        names = ("n_attributes", "visual_dim", "hidden_dim", "text_dim")
        nets = MetaNets(**{name: identity[name] for name in names}, bias=identity["meta_bias"]).to(
            self.device
        )
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
        of_dataset: str = "",
    ) -> Deployed:
        """Return what predicts; arguments as in `load_run`.

        Args:
            training_features: returns beta's features (N, F, D_v) of the training pictures, for
                modes whose tables are not stored yet.
            words, with_alpha: as for `model`; None: those that the run was tested with.
            of_dataset: as for `cfg_for`; empty: that of a test set of the run.
        """
        names = self.names_of(classes)
        if isinstance(classes, str):
            of_dataset = of_dataset or self.deployment.datasets.get(classes, "")
        if words is None:
            words = self.words_for(names, self.dataset_of(classes))
        model = self.model(names, words, with_alpha=with_alpha, of_dataset=of_dataset)
        facts = {"backbone": self.record["weights"]["sha256"], "host": self.host.code}
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
        """Return which run this is, in JSON's types; `key` is that of its stage 3."""
        names = ("method", "phi", "native_size", "seed", "shots", "dataset", "weights")
        own = (self.record.get("stages") or {}).get(self.stage) or {}
        key = own.get("key") or self.record["key"]
        return {"key": key, **{name: self.record[name] for name in names}}

    def transform(self, cfg: Any, size: int) -> Callable[[Any], Tensor]:
        """Return the host's test transform at a size."""
        build = importlib.import_module("dassl.data.transforms").build_transform
        return quietly(lambda: build(resized(cfg, size), is_train=False))

    def _no_pictures(self) -> Tensor:
        row = ADAPTED if self.options.adapt_dir else LOREAL
        raise CheckpointError(
            "this inference mode needs statistics of the training pictures, and none are stored in"
            f" {self.folder / NAME}; run loreal calibrate --row {row} where the pictures are, or"
            " use exact"
        )
