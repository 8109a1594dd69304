"""`LorealMixin`: LOREAL on top of a host trainer, `class MaPLe_LOREAL(LorealMixin, MaPLe)`.

With `TRAINER.LOREAL.ENABLED False` every hook is the host's. With True the host's own `build_model`
makes two frozen students, and of the trainer's hooks only those below are replaced: the loop, the
log lines and the evaluation stay Dassl's. `dassl` is imported inside functions, because it comes
from the attached host.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.attach import AttachedHost, attach_host
from loreal_plugin.attach.clip_source import weights_name
from loreal_plugin.attributes import dataset_of, load_attributes
from loreal_plugin.contract import HostContract, contract_of
from loreal_plugin.errors import ConfigError
from loreal_plugin.method.correction import fit_correction
from loreal_plugin.options import LorealOptions, resolve_options
from loreal_plugin.students.share import share_clip_tensors
from loreal_plugin.students.student import build_student
from loreal_plugin.students.views import build_recipe
from loreal_plugin.trainer.checkpoint import NAME
from loreal_plugin.trainer.data import DataPlan, resized
from loreal_plugin.trainer.inference import InferenceMixin, check_inference
from loreal_plugin.trainer.model import LorealModel, build_meta_nets, check_text_path
from loreal_plugin.trainer.persistence import PersistenceMixin
from loreal_plugin.trainer.untrained_words import warn_untrained_tokens
from loreal_plugin.weights import describe, load_clip_state_dict, weights_fingerprint
from loreal_plugin.weights.positions import grid_size_of


class LorealMixin(InferenceMixin, PersistenceMixin):
    """The LOREAL life cycle; to be put before a host trainer of the family."""

    # ---- what is on ------------------------------------------------------------------------------

    @property
    def loreal_enabled(self) -> bool:
        """Whether LOREAL does anything in this trainer."""
        return bool(self.cfg.TRAINER.LOREAL.ENABLED)

    @property
    def contract(self) -> HostContract:
        """The contract of the host trainer below this mixin."""
        return contract_of(type(self))

    def check_cfg(self, cfg: Any) -> None:
        """Check the host's settings and ours, before anything is built; ConfigError with every
        fault.
        """
        super().check_cfg(cfg)
        if not cfg.TRAINER.LOREAL.ENABLED:
            return
        self.options: LorealOptions = resolve_options(cfg.TRAINER.LOREAL)
        check_text_path(self.contract, self.options)
        check_inference(self.contract, self.options)
        build_recipe(cfg)
        sampler = cfg.DATALOADER.TRAIN_X.SAMPLER
        if sampler not in ("RandomSampler", "SequentialSampler"):
            raise ConfigError(
                f"DATALOADER.TRAIN_X.SAMPLER {sampler} is none of RandomSampler, SequentialSampler"
            )
        patch = describe(load_clip_state_dict(weights_name(cfg)))["patch"]
        grid_size_of(cfg.INPUT.SIZE[0], patch, "INPUT.SIZE")
        grid_size_of(self.options.phi, patch, "TRAINER.LOREAL.PHI")

    # ---- building --------------------------------------------------------------------------------

    def build_data_loader(self) -> None:
        """Build the host's loaders at phi, and our training loader of paired views."""
        if not self.loreal_enabled:
            super().build_data_loader()
            return
        native, self.cfg = self.cfg, resized(self.cfg, self.options.phi)
        try:
            super().build_data_loader()
        finally:
            self.cfg = native
        # The view seed of an unseeded run is drawn here and kept in its checkpoints.
        seed = self.cfg.SEED if self.cfg.SEED >= 0 else torch.initial_seed() % 2**31
        self.data = DataPlan(self.cfg, self.options, self.dm.dataset.train_x, seed)
        self.train_loader_x = self.data.view_loader(pin_memory=self.device.type == "cuda")

    def build_model(self) -> None:
        """Build both students and the meta-nets, and register the meta-nets alone."""
        if not self.loreal_enabled:
            super().build_model()
            return
        host, classnames = self._host(), list(self.dm.dataset.classnames)
        alpha, beta = self._students(host)
        self.words = self._attribute_words(classnames)
        warn_untrained_tokens(weights_name(self.cfg), beta.tokenize, self.words, classnames)
        visual_dim = beta.encode_image(beta_blank(beta)).shape[-1]
        nets = build_meta_nets(beta, self.words, visual_dim, self.options, self.data.seed)
        fusion = self.contract.use_fusion(self.cfg)
        self.model = LorealModel(alpha, beta, nets, self.options, fusion=fusion)
        self.model.set_words(self.words)
        self.identity = self._identity(visual_dim, nets)
        optim = importlib.import_module("dassl.optim")
        self.optim = optim.build_optimizer(nets, self.cfg.OPTIM)
        self.sched = optim.build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model(NAME, nets, self.optim, self.sched)
        precision = self.cfg.TRAINER[self.contract.cfg_node].PREC
        # Only CUDA has half-precision training worth scaling for; on the CPU the family's amp is
        # float32 too.
        self.autocast = precision == "amp" and self.device.type == "cuda"
        scaled = precision in ("amp", "fp16") and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler("cuda") if scaled else None
        self._report_parameters()

    def _host(self) -> AttachedHost:
        """Return the host that this trainer's base class comes from."""
        name = self.contract.trainer
        base = next(base for base in type(self).__mro__ if base.__name__ == name)
        return attach_host(Path(inspect.getfile(base)).resolve().parents[1], self.contract.method)

    def _students(self, host: AttachedHost) -> tuple[Any, Any]:
        """Return alpha at the native size and beta at phi, sharing the CLIP file's tensors."""
        o = self.options
        same = o.students == "same"
        if not o.alpha_dir or not (o.beta_dir or same):
            raise ConfigError(
                "TRAINER.LOREAL.ALPHA_DIR and BETA_DIR must name the output folders of stages 1 and"
                " 2 (STUDENTS same needs ALPHA_DIR only)"
            )
        places = {"alpha": (self.cfg.INPUT.SIZE[0], o.alpha_dir, o.alpha_epoch)}
        places["beta"] = (
            o.phi,
            *((o.alpha_dir, o.alpha_epoch) if same else (o.beta_dir, o.beta_epoch)),
        )
        built = {}
        for name, (size, folder, epoch) in places.items():
            print(f"Student {name}: {self.contract.trainer} at {size} from {folder}")
            built[name] = build_student(
                host,
                self.cfg,
                self.dm,
                self.device,
                input_size=size,
                checkpoint_dir=Path(folder),
                epoch=epoch,
            )
        report = share_clip_tensors(built["alpha"], built["beta"])
        print(f"Students share {report.n_shared} tensors ({report.bytes_shared / 2**20:.1f} MiB)")
        self.host_facts = {
            "host": host.revision,
            "shims": list(host.shims),
            "clip": host.clip_version,
        }
        return built["alpha"], built["beta"]

    def _attribute_words(self, classnames: list[str]) -> list[Any]:
        """Return the K words of the slots, or K for every class."""
        o = self.options
        dataset = dataset_of(self.cfg)
        found = load_attributes(o.attributes, dataset)
        if found.fallback:
            print(f"No attribute file for dataset '{dataset}': {found.source.name} is used")
        if o.attribute_scope == "class":
            return found.select_per_class(classnames, o.n_attributes, o.attr_shuffle_seed)
        words = found.select(o.n_attributes, o.attr_shuffle_seed)
        print(f"Attributes ({found.source.name}): {', '.join(words)}")
        return words

    def _identity(self, visual_dim: int, nets: Any) -> dict[str, Any]:
        """Return what the meta-nets belong to, in JSON's types."""
        o = self.options
        per_class = o.attribute_scope == "class"
        return {
            "method": self.contract.method,
            "backbone": weights_fingerprint(weights_name(self.cfg)),
            "n_attributes": o.n_attributes,
            "hidden_dim": o.hidden_dim,
            "visual_dim": visual_dim,
            "text_dim": nets.meta_nets[0].up.out_features,
            "meta_bias": o.meta_bias,
            "n_content": o.n_content,
            "slot_order": o.slot_order,
            "slot_parts": o.slot_parts,
            "drift": o.drift,
            # Words of a class belong to that class; only their number ties them to the meta-nets.
            "attributes": "per class" if per_class else list(self.words),
        }

    def _report_parameters(self) -> None:
        """Print what trains, after a check that it is the meta-nets and nothing else."""
        nets, students = self.model.meta_nets, self.model.students
        wanted = {id(p) for p in nets.parameters()}
        held = [p for group in self.optim.param_groups for p in group["params"]]
        assert {id(p) for p in held} == wanted, (
            "the optimiser holds other tensors than the meta-nets"
        )
        everything = [p for s in students.values() for p in s.model.parameters()]
        assert not any(p.requires_grad or id(p) in wanted for p in everything), (
            "a student would train"
        )
        count, host = (
            nets.count_parameters(),
            sum(p.numel() for p in students["beta"].learned.values()),
        )
        print(
            f"Parameters that train: {count:,} in {len(wanted)} tensors (meta-nets,"
            f" K={len(nets.meta_nets)})"
        )
        print(
            f"Tunable parameters of the method: {host + count:,} (host {host:,} + meta-nets"
            f" {count:,})"
        )

    # ---- training --------------------------------------------------------------------------------

    def before_train(self) -> None:
        """Resume, open the writer, then embed the training pictures once (unless CACHE_VIEWS is 0)."""
        super().before_train()
        if not self.loreal_enabled:
            return
        if self.start_epoch:
            self.best_result = self.best_of_interrupted_run()
        if self.options.drift != "none":
            self._fit_drift()
        if self.options.cache_views:
            self.train_loader_x = self._features(self.data)
            if self.model.drift:
                self.train_loader_x.correct_beta(self.model.drift)
            self.model.means.alpha = self.train_loader_x.alpha.double().mean((0, 1)).float()
            self.model.means.beta = self.train_loader_x.beta.double().mean((0, 1)).float()

    def _features(self, data: DataPlan) -> Any:
        """Return the loader of both students' embeddings of the training pictures, from the cache
        where it has them.
        """
        facts = {**self.host_facts, "weights": self.identity["backbone"]}
        return data.feature_loader(
            self.model.students["alpha"], self.model.students["beta"], facts, self.device
        )

    def _fit_drift(self) -> None:
        """Fit beta's drift correction on the training pictures, both students seeing the same
        crops.
        """
        o = self.options
        paired = dataclasses.replace(o, views="paired", cache_views=o.cache_views or 1)
        found = self._features(DataPlan(self.cfg, paired, self.data.items, self.data.seed))
        n_views = found.alpha.shape[1]
        labels = found.labels.repeat_interleave(n_views)
        self.model.drift = fit_correction(
            o.drift, found.beta.flatten(0, 1), found.alpha.flatten(0, 1), labels
        )
        print(
            f"Correction correction '{o.drift}' fitted on {len(found.labels)} x {n_views} training views"
        )

    def before_epoch(self) -> None:
        """Choose the order and the views of the epoch."""
        super().before_epoch()
        if self.loreal_enabled:
            self.train_loader_x.set_epoch(self.epoch)
            self.model.means.restart()

    def parse_batch_train(self, batch: dict[str, Any]) -> Any:
        """Return (features of alpha, features of beta, labels); pictures are embedded here."""
        if not self.loreal_enabled:
            return super().parse_batch_train(batch)
        labels = batch["label"].to(self.device)
        if "features_alpha" in batch:
            alpha, beta = (batch[f"features_{name}"].to(self.device) for name in ("alpha", "beta"))
            return alpha, beta, labels
        students = self.model.students
        alpha = students["alpha"].encode_image(batch["img"].to(self.device))
        beta = self.model.embed_beta(batch["img_low"].to(self.device))
        self.model.means.add(alpha, beta)
        return alpha, beta, labels

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, float]:
        """Take one step on a batch; return what the log shows."""
        if not self.loreal_enabled:
            return super().forward_backward(batch)
        alpha, beta, labels = self.parse_batch_train(batch)
        done = self.epoch * self.num_batches + self.batch_idx
        progress = done / max(1, self.max_epoch * self.num_batches - 1)
        with torch.autocast(self.device.type, enabled=self.autocast):
            found, logits = self.model.losses(alpha, beta, labels, min(1.0, progress))
        if self.scaler is None:
            self.model_backward_and_update(found["loss"])
        else:
            self.detect_anomaly(found["loss"])
            self.optim.zero_grad()
            self.scaler.scale(found["loss"]).backward()
            self.scaler.step(self.optim)
            self.scaler.update()
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        accuracy = (logits.detach().argmax(1) == labels).float().mean().item() * 100
        return {**{name: value.item() for name, value in found.items()}, "acc": accuracy}

    # ---- evaluation ------------------------------------------------------------------------------

    def model_inference(self, input: Tensor) -> Tensor:
        """Return the logits of images at phi: beta alone, with contents of its own embedding."""
        if not self.loreal_enabled:
            return super().model_inference(input)
        if self.model.inference is None and not self._validating:
            self.prepare_inference()
        return self.model(input)

    def test(self, split: str | None = None) -> float:
        """Evaluate in Dassl's own loop: a host's loop (MMRL's) would bypass `model_inference`."""
        if not self.loreal_enabled:
            return super().test(split)
        # Validation between epochs is exact: tables of meta-nets that are still training are worth
        # nothing.
        self.model.inference, self._validating = None, split == "val"
        try:
            return importlib.import_module("dassl.engine").SimpleTrainer.test(self, split)
        finally:
            self._validating = False


def beta_blank(student: Any) -> Tensor:
    """Return one black picture of a student's size, on its device."""
    return torch.zeros(1, 3, student.input_size, student.input_size, device=student.device)
