"""Stage 3: what LOREAL needs beyond a host's trainer, from its options to the model that trains.

Shapes: N training pictures, V views of each, F features a view, D_v width of an embedding.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.adapt.use import enlarge_setting, use_adaptation_of
from loreal_plugin.attach import AttachedHost
from loreal_plugin.attach.clip_source import weights_name
from loreal_plugin.attributes import dataset_of, load_attributes
from loreal_plugin.contract import HostContract
from loreal_plugin.errors import CheckpointError, ConfigError
from loreal_plugin.inference.builder import ModeBuilder
from loreal_plugin.inference.choose import read_chosen, resolve_calibrated
from loreal_plugin.inference.modes import check_inference
from loreal_plugin.inference_modes import CALIBRATED
from loreal_plugin.method.correction import fit_correction
from loreal_plugin.method.loreal import Loreal
from loreal_plugin.options import LorealOptions, resolve_options
from loreal_plugin.students.build import build_student, start_meta_nets
from loreal_plugin.students.share import share_clip_tensors
from loreal_plugin.students.student import Student, check_text_path, with_slots
from loreal_plugin.students.views import build_recipe
from loreal_plugin.trainer.checkpoint import NAME
from loreal_plugin.trainer.data import DataPlan, corrected_features
from loreal_plugin.trainer.notices import untrained_note
from loreal_plugin.trainer.step import FeatureLoader, RunningMean, ViewLoader
from loreal_plugin.weights import clip_sizes, weights_fingerprint
from loreal_plugin.weights.positions import grid_size_of

SAMPLERS = ("RandomSampler", "SequentialSampler")


class Stage3:
    """One run of stage 3 on the way from its configuration to a model.

    Args:
        cfg: the configuration of the `<X>_LOREAL` trainer.
        contract: of the host trainer.

    Attributes:
        options: the resolved options.
        data: the training pictures and how they are seen; there after `read_pictures`.
        model: students and meta-nets; there after `build`.
        words: the attributes in the slots.
        identity: what the meta-nets belong to, in JSON's types.
        host_facts, host_code: the host's `sources` and `code`.
        loaded: folder and record of the checkpoint that was loaded; None for a model trained here.

    Raises:
        ConfigError: settings that cannot be used, before anything is built.
    """

    data: DataPlan
    model: Loreal
    words: list[Any]
    identity: dict[str, Any]
    host_facts: dict[str, Any]
    host_code: dict[str, Any]

    def __init__(self, cfg: Any, contract: HostContract) -> None:
        self.cfg, self.contract = cfg, contract
        self.options: LorealOptions = resolve_options(cfg.TRAINER.LOREAL)
        self.loaded: tuple[Path, dict[str, Any]] | None = None
        self.means = RunningMean(), RunningMean()  # of alpha's and beta's features, uncached
        check_text_path(contract, self.options)
        check_inference(contract, self.options)
        build_recipe(cfg)  # raises where paired views cannot be drawn
        sampler = cfg.DATALOADER.TRAIN_X.SAMPLER
        if sampler not in SAMPLERS:
            raise ConfigError(
                f"DATALOADER.TRAIN_X.SAMPLER {sampler} is none of {', '.join(SAMPLERS)}"
            )
        patch = clip_sizes(weights_name(cfg))["patch"]
        grid_size_of(cfg.INPUT.SIZE[0], patch, "INPUT.SIZE")
        grid_size_of(self.options.phi, patch, "TRAINER.LOREAL.PHI")

    # ---- building --------------------------------------------------------------------------------

    def read_pictures(self, dataset: Any, device: torch.device) -> ViewLoader:
        """Take the training pictures of a Dassl dataset; return a loader of paired views."""
        cfg, self.dataset = self.cfg, dataset
        # The view seed of an unseeded run is drawn here and kept in its checkpoints.
        seed = cfg.SEED if cfg.SEED >= 0 else torch.initial_seed() % 2**31
        self.data = DataPlan(cfg, self.options, dataset.train_x, seed)
        return self.view_loader(device)

    def view_loader(self, device: torch.device) -> ViewLoader:
        """Return a loader of pictures, each seen at the native size and at phi."""
        return self.data.view_loader(pin_memory=device.type == "cuda")

    def build(self, host: AttachedHost, device: torch.device) -> Loreal:
        """Return the model: two frozen students that share their CLIP, and fresh meta-nets."""
        o, classnames = self.options, list(self.dataset.classnames)
        alpha, beta = self._students(host, classnames, device)
        self.words = self._attribute_words(classnames)
        backbone = weights_name(self.cfg)
        note = untrained_note(backbone, beta.tokenize, self.words, classnames)
        print(note, end="\n" if note else "")
        alpha, beta = (with_slots(student, self.words, o) for student in (alpha, beta))
        # D_v is seen in the encoding of an empty image: no attribute has it in every host.
        side = beta.input_size
        blank = torch.zeros(1, 3, side, side, device=beta.device)
        visual_dim = beta.encode_image(blank).shape[-1]
        nets = start_meta_nets(beta, visual_dim, o, self.data.seed)
        fusion = self.contract.use_fusion(self.cfg)
        self.model = Loreal(alpha, beta, nets, o, fusion=fusion)
        self.identity = self._identity(visual_dim, nets.meta_nets[0].up.out_features)
        return self.model

    def _students(
        self, host: AttachedHost, classnames: list[str], device: torch.device
    ) -> tuple[Student, Student]:
        """Return alpha at the native size and beta at phi, sharing the CLIP file's tensors."""
        o = self.options
        same = o.students == "same" or bool(o.adapt_dir)  # an adapted beta is alpha at phi
        if not o.alpha_dir or not (o.beta_dir or same):
            raise ConfigError(
                "TRAINER.LOREAL.ALPHA_DIR and BETA_DIR must name the output folders of stages 1 and"
                " 2 (STUDENTS same needs ALPHA_DIR only)"
            )

        def student(name: str, size: int, folder: str, epoch: int, enlarge: int = 0) -> Student:
            print(f"Student {name}: {self.contract.trainer} at {size} from {folder}")
            return build_student(
                host,
                self.cfg,
                classnames,
                device,
                input_size=size,
                checkpoint_dir=folder,
                epoch=epoch,
                enlarge=enlarge,
            )

        alpha = student("alpha", self.cfg.INPUT.SIZE[0], o.alpha_dir, o.alpha_epoch)
        low = (o.alpha_dir, o.alpha_epoch) if same else (o.beta_dir, o.beta_epoch)
        adapted = Path(o.adapt_dir) if o.adapt_dir else None
        beta = student("beta", o.phi, *low, enlarge=enlarge_setting(adapted) if adapted else 0)
        report = share_clip_tensors(alpha, beta)
        mib = report.bytes_shared / 2**20
        print(f"Students share {report.n_shared} tensors ({mib:.1f} MiB)")
        if adapted:
            use_adaptation_of(beta, adapted, weights_fingerprint(weights_name(self.cfg)))
            print(f"Student beta: image side adapted to {o.phi}, from {adapted}")
        self.host_facts, self.host_code = host.sources, host.code
        return alpha, beta

    def _attribute_words(self, classnames: list[str]) -> list[Any]:
        """Return the K words of the slots, or K for every class."""
        o = self.options
        dataset = dataset_of(self.cfg)
        attributes = load_attributes(o.attributes, dataset)
        if attributes.fallback:
            print(f"No attribute file for dataset '{dataset}': {attributes.source.name} is used")
        words = attributes.select_for(o, classnames)
        if o.attribute_scope != "class":
            print(f"Attributes ({attributes.source.name}): {', '.join(words)}")
        return words

    def _identity(self, visual_dim: int, text_dim: int) -> dict[str, Any]:
        """Return what the meta-nets belong to, in JSON's types."""
        o = self.options
        per_class = o.attribute_scope == "class"
        return {
            "method": self.contract.method,
            "backbone": weights_fingerprint(weights_name(self.cfg)),
            "n_attributes": o.n_attributes,
            "hidden_dim": o.hidden_dim,
            "visual_dim": visual_dim,
            "text_dim": text_dim,
            "meta_bias": o.meta_bias,
            "n_content": o.n_content,
            "slot_order": o.slot_order,
            "slot_parts": o.slot_parts,
            "drift": o.drift,
            # Words of a class belong to that class; only their number ties them to the meta-nets.
            "attributes": "per class" if per_class else list(self.words),
        }

    @property
    def students(self) -> tuple[Student, Student]:
        """Alpha and beta."""
        return self.model.alpha, self.model.beta  # type: ignore[return-value]  # built here

    # ---- training --------------------------------------------------------------------------------

    def prepare_training(self, device: torch.device) -> FeatureLoader | None:
        """Fit the correction; return a loader of embeddings, None where CACHE_VIEWS is 0."""
        model, (alpha, beta) = self.model, self.students
        if self.options.drift != "none":
            self._fit_correction(device)
        if not self.options.cache_views:
            return None
        loader = self._features(self.data, device)
        if model.correction:
            loader.correct_beta(model.correction)
        alpha.mean = loader.alpha.double().mean((0, 1)).float()
        beta.mean = loader.beta.double().mean((0, 1)).float()
        return loader

    def _features(self, data: DataPlan, device: torch.device) -> FeatureLoader:
        """Return the loader of both students' embeddings of pictures, from the cache or made."""
        return data.feature_loader(*self.students, self._cache_facts(), device)

    def _cache_facts(self) -> dict[str, Any]:
        return {**self.host_facts, "weights": self.identity["backbone"]}

    def _fit_correction(self, device: torch.device) -> None:
        """Fit beta's correction on the training pictures, both students seeing the same crops."""
        o = self.options
        paired = dataclasses.replace(o, views="paired", cache_views=o.cache_views or 1)
        data = DataPlan(self.cfg, paired, self.data.items, self.data.seed)
        loader = self._features(data, device)
        n_views = loader.alpha.shape[1]
        labels = loader.labels.repeat_interleave(n_views)
        low, standard = loader.beta.flatten(0, 1), loader.alpha.flatten(0, 1)  # (N * V, F, D_v)
        self.model.correction = fit_correction(o.drift, low, standard, labels)
        pictures = f"{len(loader.labels)} x {n_views} training views"
        print(f"Drift correction '{o.drift}' fitted on {pictures}")

    # ---- inference -------------------------------------------------------------------------------

    def prepare_inference(self, device: torch.device) -> None:
        """Put the mode of INFERENCE into the model; its tables are read, or made and kept."""
        options, modes = self.options, self.modes(device)
        if options.inference == CALIBRATED:
            options = resolve_calibrated(options, read_chosen(modes, options))
        self.model.mode = None if options.inference == "exact" else modes.mode(options)

    def modes(self, device: torch.device) -> ModeBuilder:
        """Return what builds inference modes; tables lie beside the checkpoint in use."""
        directory = self.loaded[0] if self.loaded else Path(self.cfg.OUTPUT_DIR)
        facts = {"backbone": self.identity["backbone"], "host": self.host_code}
        return ModeBuilder(
            self.model, directory / NAME, facts, lambda: self._statistics_features(device)
        )

    def _statistics_features(self, device: torch.device) -> Tensor:
        """Return `training_features`, if this run's pictures are those of the checkpoint.

        Raises:
            CheckpointError: they are not.
        """
        if self.loaded:
            path, record = self.loaded
            classnames = list(self.dataset.classnames)
            mine = {"dataset": dataset_of(self.cfg), "classnames": classnames}
            differ = [name for name, value in mine.items() if record[name] != value]
            if differ:
                raise CheckpointError(
                    f"INFERENCE {self.options.inference} needs statistics of the pictures that"
                    f" {path} was trained on; they are not stored there and this run has another"
                    f" {' and other '.join(differ)}: run loreal calibrate for the training first"
                )
        return self.training_features(device)

    def training_features(self, device: torch.device) -> Tensor:
        """Return beta's corrected features (N * V, F, D_v) of every training picture and view."""
        parts = self.data, self.students[-1], self._cache_facts(), device
        return corrected_features(*parts, self.model.correction)
