"""`LorealMixin`: LOREAL on top of a host trainer, `class MaPLe_LOREAL(LorealMixin, MaPLe)`.

With `TRAINER.LOREAL.ENABLED False` every hook is the host's. Else the hooks below are replaced: the
loop, the log lines and the evaluation stay Dassl's, which is imported late, from the attached host.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.contract import HostContract, contract_of
from loreal_plugin.trainer import persistence
from loreal_plugin.trainer.checkpoint import NAME
from loreal_plugin.trainer.choose_inference import choose_inference
from loreal_plugin.trainer.data import resized
from loreal_plugin.trainer.host import host_of, mixed_precision
from loreal_plugin.trainer.notices import report_parameters
from loreal_plugin.trainer.stage3 import Stage3
from loreal_plugin.trainer.step import embed, log_values, training_progress, update


class LorealMixin:
    """The Dassl hooks of LOREAL; to be put before a host trainer of the family."""

    stage3: Stage3

    @property
    def loreal_enabled(self) -> bool:
        """Whether LOREAL does anything in this trainer."""
        return bool(self.cfg.TRAINER.LOREAL.ENABLED)

    @property
    def contract(self) -> HostContract:
        """The contract of the host trainer below this mixin."""
        return contract_of(type(self))

    # ---- building --------------------------------------------------------------------------------

    def check_cfg(self, cfg: Any) -> None:
        """Check the host's settings and ours, before anything is built; ConfigError with faults."""
        super().check_cfg(cfg)
        if cfg.TRAINER.LOREAL.ENABLED:
            self.stage3 = Stage3(cfg, self.contract)

    def build_data_loader(self) -> None:
        """Build the host's loaders at phi, and our training loader of paired views."""
        if not self.loreal_enabled:
            super().build_data_loader()
            return
        native, self.cfg = self.cfg, resized(self.cfg, self.stage3.options.phi)
        try:
            super().build_data_loader()
        finally:
            self.cfg = native
        self.train_loader_x = self.stage3.read_pictures(self.dm.dataset, self.device)

    def build_model(self) -> None:
        """Build both students and the meta-nets, and register the meta-nets alone."""
        if not self.loreal_enabled:
            super().build_model()
            return
        self.model = self.stage3.build(host_of(type(self)), self.device)
        nets = self.model.meta_nets
        optim = importlib.import_module("dassl.optim")
        self.optim = optim.build_optimizer(nets, self.cfg.OPTIM)
        self.sched = optim.build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model(NAME, nets, self.optim, self.sched)
        self.autocast, self.scaler = mixed_precision(self.cfg, self.contract, self.device)
        report_parameters(self.model, self.optim)

    # ---- training --------------------------------------------------------------------------------

    def before_train(self) -> None:
        """Resume, open the writer, then embed the training pictures once (unless not cached)."""
        super().before_train()
        if not self.loreal_enabled:
            return
        if self.start_epoch:
            folder = Path(self.cfg.RESUME or self.cfg.OUTPUT_DIR)
            self.best_result = persistence.best_of_interrupted_run(folder)
        self.train_loader_x = self.stage3.prepare_training(self.device) or self.train_loader_x

    def after_train(self) -> None:
        """Choose the inference mode before the host tests what was trained."""
        if self.loreal_enabled:
            if self.cfg.TEST.FINAL_MODEL == "best_val":  # that epoch is tested, not the last
                self.load_model(self.output_dir)
            choose_inference(self.stage3, self.device)
        super().after_train()

    def before_epoch(self) -> None:
        """Choose the order and the views of the epoch."""
        super().before_epoch()
        if self.loreal_enabled:
            self.train_loader_x.set_epoch(self.epoch)
            for mean in self.stage3.means:
                mean.restart()

    def parse_batch_train(self, batch: dict[str, Any]) -> Any:
        """Return (features of alpha, features of beta, labels); pictures are embedded here."""
        if not self.loreal_enabled:
            return super().parse_batch_train(batch)
        return embed(self.model, self.stage3.means, batch, self.device)

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, float]:
        """Take one step on a batch; return what the log shows."""
        if not self.loreal_enabled:
            return super().forward_backward(batch)
        alpha, beta, labels = self.parse_batch_train(batch)
        o = self.stage3.options
        place = {"epoch": self.epoch, "batch": self.batch_idx, "batches": self.num_batches}
        progress = training_progress(o.mix_steps, epochs=self.max_epoch, **place)
        with torch.autocast(self.device.type, enabled=self.autocast):
            losses, logits = self.model.losses(alpha, beta, labels, progress)
        update(self, losses["loss"])
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return log_values(losses, logits, labels, o, progress)

    # ---- evaluation ------------------------------------------------------------------------------

    def model_inference(self, input: Tensor) -> Tensor:
        """Return the logits of images at phi: beta alone, with contents of its own embedding."""
        return self.model(input) if self.loreal_enabled else super().model_inference(input)

    def test(self, split: str | None = None) -> float:
        """Evaluate in Dassl's own loop: a host's loop (MMRL's) would bypass `model_inference`."""
        if not self.loreal_enabled:
            return super().test(split)
        self.model.mode = None
        # Validation between epochs is exact: tables of nets that still train would be out of date.
        if split != "val":
            self.stage3.prepare_inference(self.device)
        return importlib.import_module("dassl.engine").SimpleTrainer.test(self, split)

    # ---- checkpoints -----------------------------------------------------------------------------

    def save_model(
        self,
        epoch: int,
        directory: str,
        is_best: bool = False,
        val_result: float | None = None,
        model_name: str = "",
    ) -> None:
        """Save the meta-nets and all that a resumed run needs, under `<directory>/loreal/`."""
        if not self.loreal_enabled:
            super().save_model(epoch, directory, is_best, val_result, model_name)
            return
        parts = (self.stage3, Path(directory), epoch + 1, self.optim, self.scaler)
        only_best = bool(model_name)  # hosts give a name to one file: that of the best epoch
        persistence.save(*parts, best=is_best, only_best=only_best, val_result=val_result)

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load the meta-nets of an epoch (None: the best, else the last); CheckpointError."""
        if not self.loreal_enabled:
            super().load_model(directory, epoch=epoch)
        elif not directory:
            print("Note that load_model() is skipped as no pretrained model is given")
        else:
            persistence.load(self.stage3, Path(directory), epoch)

    def resume_model_if_exist(self, directory: str) -> int:
        """Return the epoch to go on from, with everything as it was after the one before."""
        if not self.loreal_enabled:
            return super().resume_model_if_exist(directory)
        state = self.optim, self.sched, self.scaler
        epoch = persistence.resume(self.stage3, Path(directory), *state)
        if epoch:
            self.train_loader_x = self.stage3.view_loader(self.device)
        return epoch
