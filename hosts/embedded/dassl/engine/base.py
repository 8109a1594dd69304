"""The frame of a trainer: registered models, their optimisers, checkpoints, the loop of epochs."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dassl._plugin import CheckpointError
from dassl.utils import load_checkpoint, resume_from_checkpoint, save_checkpoint, tolist_if_not
from dassl.utils.torchtools import BEST, latest_name


class TrainerBase:
    """What every trainer can do; a subclass writes the methods that raise NotImplementedError."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, nn.Module] = OrderedDict()
        self._optims: OrderedDict[str, torch.optim.Optimizer | None] = OrderedDict()
        self._scheds: OrderedDict[str, Any] = OrderedDict()
        self._writer = None

    # --- registered models

    def register_model(
        self, name: str = "model", model: Any = None, optim: Any = None, sched: Any = None
    ) -> None:
        """Put a model under `name`, which is its folder in checkpoints, with its optimiser and
        schedule.

        Raises:
            AttributeError: when called before `super().__init__()`.
            ValueError: when the name is taken.
        """
        if "_models" not in self.__dict__:
            raise AttributeError("call super().__init__() before register_model()")
        if name in self._models:
            raise ValueError(f"a model '{name}' is registered already")
        for table, entry in ((self._models, model), (self._optims, optim), (self._scheds, sched)):
            table[name] = entry

    def get_model_names(self, names: str | list[str] | None = None) -> list[str]:
        """Return all names, or the given ones as a list; raise ValueError for an unknown one."""
        if names is None:
            return list(self._models)
        chosen = tolist_if_not(names)
        unknown = [name for name in chosen if name not in self._models]
        if unknown:
            raise ValueError(
                f"no model is registered as {unknown} (registered: {list(self._models)})"
            )
        return chosen

    def set_model_mode(self, mode: str = "train", names: str | list[str] | None = None) -> None:
        """Put models in training ("train") or evaluation ("test", "eval") mode."""
        if mode not in ("train", "test", "eval"):
            raise KeyError(f"mode '{mode}' is not one of train, test, eval")
        for name in self.get_model_names(names):
            self._models[name].train(mode == "train")

    # --- checkpoints

    def checkpoint_part(self, name: str) -> Any:
        """Return the object whose `state_dict` goes into checkpoints and comes back on resuming."""
        return self._models[name]

    def save_model(
        self,
        epoch: int,
        directory: str | os.PathLike[str],
        is_best: bool = False,
        val_result: float | None = None,
        model_name: str = "",
    ) -> None:
        """Write a checkpoint of each model into `<directory>/<name>/`; `epoch` counts from 0."""
        for name in self.get_model_names():
            optim, sched = self._optims[name], self._scheds[name]
            state = {
                "state_dict": self.checkpoint_part(name).state_dict(),
                "epoch": epoch + 1,
                "optimizer": None if optim is None else optim.state_dict(),
                "scheduler": None if sched is None else sched.state_dict(),
                "val_result": None if val_result is None else float(val_result),
            }
            save_checkpoint(state, Path(directory) / name, is_best=is_best, model_name=model_name)

    def resume_model_if_exist(self, directory: str | os.PathLike[str]) -> int:
        """Load the newest checkpoint that all models have; return the next epoch (0: none)."""
        folders = {name: Path(directory) / name for name in self.get_model_names()}
        newest = {latest_name(folder) for folder in folders.values()}
        if None in newest or not newest:
            print("No checkpoint found, train from scratch")
            return 0
        print(f"Found checkpoint at {directory} (will resume training)")
        file_name = self._common_checkpoint(newest, list(folders.values()))
        epochs = set()
        for name, folder in folders.items():
            parts = self.checkpoint_part(name), self._optims[name], self._scheds[name]
            epochs.add(resume_from_checkpoint(folder, *parts, model_name=file_name))
        if len(epochs) > 1:
            raise CheckpointError(
                f"the models in '{directory}' are of different epochs: {sorted(epochs)}"
            )
        return epochs.pop()

    @staticmethod
    def _common_checkpoint(names: set[str], folders: list[Path]) -> str:
        """Return the file name that exists in all folders: a run may die between two models."""
        for name in names:
            if all((folder / name).is_file() for folder in folders):
                return name
        raise CheckpointError(
            f"no checkpoint of {sorted(names)} is in all of {[str(f) for f in folders]}"
        )

    def load_model(self, directory: str | os.PathLike[str], epoch: int | None = None) -> None:
        """Load every registered model from `<directory>/<name>/`: the best one, or that of `epoch`.

        Raises:
            FileNotFoundError: when a file is missing.
        """
        if not directory:
            print("Note that load_model() is skipped as no pretrained model is given")
            return
        file_name = BEST if epoch is None else f"model.pth.tar-{epoch}"
        for name in self.get_model_names():
            path = Path(directory) / name / file_name
            if not path.is_file():
                raise FileNotFoundError(
                    f"no model at '{path}'; --load-epoch chooses one that is not the best"
                )
            checkpoint = load_checkpoint(path)
            kept = f"epoch={checkpoint['epoch']}, val_result={checkpoint['val_result']}"
            print(f"Load {path} to {name} ({kept})")
            self._models[name].load_state_dict(checkpoint["state_dict"])

    # --- TensorBoard

    def init_writer(self, log_dir: str | os.PathLike[str]) -> None:
        """Open a TensorBoard writer; without the package say so once and go on without scalars."""
        if self._writer is not None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            print("TensorBoard is not installed: scalars are not written (pip install tensorboard)")
            return
        print(f"Initialize tensorboard (log_dir={log_dir})")
        self._writer = SummaryWriter(log_dir=str(log_dir))

    def close_writer(self) -> None:
        """Finish the TensorBoard file, if there is one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def write_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
        """Write a number to TensorBoard, if it is open (it is during training only)."""
        if self._writer is not None:
            self._writer.add_scalar(tag, scalar_value, global_step)

    # --- the loop

    def train(self, start_epoch: int, max_epoch: int) -> None:
        """Run the epochs from `start_epoch` (`before_train` may change it) to `max_epoch`."""
        self.start_epoch, self.max_epoch = start_epoch, max_epoch
        self.before_train()
        for epoch in range(self.start_epoch, self.max_epoch):
            self.epoch = epoch
            self.seed_epoch()
            self.before_epoch()
            self.run_epoch()
            self.after_epoch()
        self.after_train()

    def seed_epoch(self) -> None:
        """Set the random state of the epoch that begins; nothing here, since there is no seed."""

    def before_train(self) -> None:
        """Run once before the first epoch."""

    def after_train(self) -> None:
        """Run once after the last epoch."""

    def before_epoch(self) -> None:
        """Run before each epoch."""

    def after_epoch(self) -> None:
        """Run after each epoch."""

    def run_epoch(self) -> None:
        """Train for one epoch."""
        raise NotImplementedError

    def test(self) -> float:
        """Evaluate; return the main result."""
        raise NotImplementedError

    def parse_batch_train(self, batch: dict[str, Any]) -> Any:
        """Return what the model needs of a training batch, on its device."""
        raise NotImplementedError

    def parse_batch_test(self, batch: dict[str, Any]) -> Any:
        """Return input and label of a test batch, on the model's device."""
        raise NotImplementedError

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, float] | None:
        """Take one optimiser step; return the numbers to report."""
        raise NotImplementedError

    def model_inference(self, input: Any) -> torch.Tensor:
        """Return the logits of a batch."""
        raise NotImplementedError

    # --- one step

    def update_lr(self, names: str | list[str] | None = None) -> None:
        """Step the schedules."""
        for name in self.get_model_names(names):
            if self._scheds[name] is not None:
                self._scheds[name].step()

    def detect_anomaly(self, loss: torch.Tensor) -> None:
        """Raise FloatingPointError when the loss is infinite or not a number."""
        if not torch.isfinite(loss).all():
            raise FloatingPointError(
                f"the loss is {loss.detach().flatten().tolist()}; training stops"
            )

    def model_zero_grad(self, names: str | list[str] | None = None) -> None:
        """Clear the gradients of the optimisers' parameters."""
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].zero_grad()

    def model_backward(self, loss: torch.Tensor) -> None:
        """Compute gradients, after a check of the loss."""
        self.detect_anomaly(loss)
        loss.backward()

    def model_update(self, names: str | list[str] | None = None) -> None:
        """Step the optimisers."""
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].step()

    def model_backward_and_update(
        self, loss: torch.Tensor, names: str | list[str] | None = None
    ) -> None:
        """Clear gradients, compute them, step: for all registered models unless some are named."""
        chosen = self.get_model_names(names)
        self.model_zero_grad(chosen)
        self.model_backward(loss)
        self.model_update(chosen)
