"""What the four trainers share: building, precision, the training step, loading.

A method's module adds its model, and names its global `load_clip_to_cpu` in `load_clip`, because
tools that change how CLIP is loaded replace that global in every trainer module.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

import torch
from dassl.engine import TrainerX
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import load_checkpoint, load_pretrained_weights
from torch import Tensor, nn
from yacs.config import CfgNode

from trainers._checkpoints import LearnedPart, find_checkpoint, restore
from trainers._clip import check_input_size
from trainers._plugin import ConfigError

PRECISIONS = ("fp16", "fp32", "amp")


class PromptTrainer(TrainerX):
    """A frozen CLIP with something small that learns; runs on one device."""

    node = ""  # the method's node under cfg.TRAINER
    registered = ""  # name of the registered model, hence the checkpoint folder
    fixed: tuple[str, ...] = ()  # state-dict keys (last part) that follow from the class names

    @abstractmethod
    def load_clip(self) -> nn.Module:
        """Return CLIP from the method module's own `load_clip_to_cpu`."""

    @abstractmethod
    def create_model(self, classnames: list[str], clip_model: nn.Module) -> nn.Module:
        """Return the method's model around the frozen `clip_model`."""

    @abstractmethod
    def loss(self, image: Tensor, label: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return the training loss of a batch and what else the log shows."""

    def learner(self) -> nn.Module:
        """Return the module that is registered, saved and given to the optimiser."""
        return self.model

    def check_cfg(self, cfg: CfgNode) -> None:
        """Raise ConfigError on a precision that is none of `PRECISIONS`."""
        precision = cfg.TRAINER[self.node].PREC
        if precision not in PRECISIONS:
            raise ConfigError(
                f"TRAINER.{self.node}.PREC is '{precision}'; it must be one of"
                f" {', '.join(PRECISIONS)}"
            )

    def build_model(self) -> None:
        """Build `self.model`, its optimiser and schedule; the method's own parameters train."""
        cfg = self.cfg
        precision = cfg.TRAINER[self.node].PREC
        clip_model = self.load_clip()
        if precision != "fp16":
            clip_model.float()
        check_input_size(cfg, clip_model)
        clip_model.requires_grad_(False)

        self.model = self.create_model(self.dm.dataset.classnames, clip_model)
        sizes = [value.numel() for value in self.model.parameters() if value.requires_grad]
        print(
            f"{cfg.TRAINER.NAME}: {sum(sizes):,} learned parameters in {len(sizes)} tensors,"
            f" {precision}"
        )
        if cfg.MODEL.INIT_WEIGHTS:
            load_pretrained_weights(self.learner(), cfg.MODEL.INIT_WEIGHTS)
        self.model.to(self.device)

        self.optim = build_optimizer(self.learner(), cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model(self.registered, self.learner(), self.optim, self.sched)
        # without CUDA, amp means float32, as in real hosts: half precision is slower on a CPU
        self.amp = precision == "amp" and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(self.device.type) if self.amp else None

    def forward_backward(self, batch: dict) -> dict[str, float]:
        """Train on one batch and return what the log shows."""
        image, label = self.parse_batch_train(batch)
        with torch.autocast(self.device.type, enabled=self.amp):
            loss, shown = self.loss(image, label)
        if self.scaler is None:
            self.model_backward_and_update(loss)
        else:
            self._scaled_step(loss, self.scaler)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": loss.item(), **shown}

    def _scaled_step(self, loss: Tensor, scaler: torch.amp.GradScaler) -> None:
        """Step the optimiser on gradients of the scaled loss: small ones survive half precision."""
        self.detect_anomaly(loss)
        scaled = scaler.scale(loss)
        self.model_zero_grad([self.registered])
        scaled.backward()
        scaler.step(self.optim)
        scaler.update()

    def parse_batch_train(self, batch: dict) -> tuple[Tensor, Tensor]:
        """Return images and labels on the trainer's device."""
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def checkpoint_part(self, name: str) -> LearnedPart:
        """Return what trains: a checkpoint of the host then weighs kilobytes or a few megabytes."""
        return LearnedPart(self._models[name], self.fixed)

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load what was learned from `directory/<registered model>/`.

        Args:
            epoch: the epoch to load; None takes the best checkpoint, else the last.

        Raises:
            CheckpointError: no such checkpoint, or it does not fit this model.
        """
        if not directory:
            print("no directory to load a model from: the model stays as it is")
            return
        path = find_checkpoint(Path(directory) / self.registered, epoch)
        checkpoint = load_checkpoint(str(path))
        restore(self._models[self.registered], checkpoint["state_dict"], self.fixed)
        print(f"loaded {self.registered} from {path} (epoch {checkpoint['epoch']})")
