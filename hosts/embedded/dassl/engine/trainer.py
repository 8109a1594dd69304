"""Trainers with data, evaluation and the log lines of the family."""

from __future__ import annotations

import datetime
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from dassl._plugin import ConfigError
from dassl.data import DataManager
from dassl.evaluation import build_evaluator
from dassl.utils import AverageMeter, MetricMeter, load_checkpoint, progress, set_random_seed
from dassl.utils.torchtools import BEST

from .base import TrainerBase

# what a trainer takes over from its data manager, under the same names
DATA_ATTRIBUTES = ("lab2cname", "num_classes", "num_source_domains")
DATA_ATTRIBUTES += ("train_loader_x", "train_loader_u", "val_loader", "test_loader")


def _hms(seconds: float) -> str:
    """Return a duration as h:mm:ss."""
    return str(datetime.timedelta(seconds=int(seconds)))


class SimpleTrainer(TrainerBase):
    """A trainer of one data set: builds data, model and evaluator; tests, saves and resumes.

    With a seed (`cfg.SEED` >= 0) the random state at the start of an epoch depends on the seed and
    the epoch alone, so that a resumed run repeats an uninterrupted one bit for bit.
    """

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        self.check_cfg(cfg)
        self.cfg, self.output_dir = cfg, cfg.OUTPUT_DIR
        self.device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
        self.epoch, self.start_epoch, self.max_epoch = 0, 0, cfg.OPTIM.MAX_EPOCH
        self.best_result = -np.inf
        self.build_data_loader()
        self.build_model()
        self.evaluator = build_evaluator(cfg, lab2cname=self.lab2cname)

    def check_cfg(self, cfg: CfgNode) -> None:
        """Refuse a configuration that this trainer cannot run; the base takes any."""

    def build_data_loader(self) -> None:
        """Build the data manager and keep what trainers use of it."""
        self.dm = DataManager(self.cfg)
        for name in DATA_ATTRIBUTES:
            setattr(self, name, getattr(self.dm, name))

    def build_model(self) -> None:
        """Build and register the model: a subclass's work, since this package has no backbones.

        Raises:
            ConfigError: the subclass does not say how.
        """
        raise ConfigError(
            f"trainer {type(self).__name__} has to write build_model(): this package brings no"
            " backbone; choose a trainer that builds a model"
        )

    # --- life cycle

    def train(self) -> None:
        """Train from the newest checkpoint, if any, to MAX_EPOCH; then test."""
        super().train(self.start_epoch, self.max_epoch)

    def seed_epoch(self) -> None:
        """Set the random state that follows from seed and epoch, if there is a seed."""
        if self.cfg.SEED >= 0:
            set_random_seed(
                int(np.random.SeedSequence([self.cfg.SEED, self.epoch]).generate_state(1)[0])
            )

    def before_train(self) -> None:
        """Resume from the newest checkpoint, open TensorBoard and start the clock."""
        self.start_epoch = self.resume_model_if_exist(self.cfg.RESUME or self.cfg.OUTPUT_DIR)
        if self.start_epoch and self.cfg.TEST.FINAL_MODEL == "best_val":
            self.best_result = self._best_so_far()
        self.init_writer(Path(self.output_dir) / "tensorboard")
        self.time_start = time.time()

    def after_train(self) -> None:
        """Test the final model and print the time taken."""
        print("Finish training")
        if not self.cfg.TEST.NO_TEST:
            self._deploy()
            self.test()
        print(f"Elapsed: {_hms(round(time.time() - self.time_start))}")
        self.close_writer()

    def _deploy(self) -> None:
        """Take the best model where TEST.FINAL_MODEL asks for it, else the last; say which."""
        best = self.cfg.TEST.FINAL_MODEL == "best_val"
        print(f"Deploy the {'model with the best val performance' if best else 'last-epoch model'}")
        if best:
            self.load_model(self.output_dir)

    def after_epoch(self) -> None:
        """Validate and save what `cfg.TEST` and `cfg.TRAIN` ask for, the last epoch always."""
        finished = self.epoch + 1
        if not self.cfg.TEST.NO_TEST and self.cfg.TEST.FINAL_MODEL == "best_val":
            result = self.test(split="val")
            if result > self.best_result:
                self.best_result = result
                self.save_model(self.epoch, self.output_dir, val_result=result, model_name=BEST)
        frequency = self.cfg.TRAIN.CHECKPOINT_FREQ
        if finished == self.max_epoch or (frequency > 0 and finished % frequency == 0):
            self.save_model(self.epoch, self.output_dir)

    def _best_so_far(self) -> float:
        """Return the best validation result that an interrupted run left, or minus infinity."""
        path = Path(self.output_dir) / self.get_model_names()[0] / BEST
        result = load_checkpoint(path)["val_result"] if path.is_file() else None
        return -np.inf if result is None else result

    # --- evaluation

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Evaluate on a split ("test" where there is no "val"); return the first result."""
        self.set_model_mode("eval")
        self.evaluator.reset()
        split = split or self.cfg.TEST.SPLIT
        if split != "val" or self.val_loader is None:
            split = "test"
        print(f"Evaluate on the *{split}* set")
        for batch in progress(self.val_loader if split == "val" else self.test_loader):
            input, label = self.parse_batch_test(batch)
            self.evaluator.process(self.model_inference(input), label)
        results = self.evaluator.evaluate()
        for name, value in results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        return next(iter(results.values()))

    def model_inference(self, input: Any) -> torch.Tensor:
        """Return what the evaluator takes for a batch of pictures: logits (B, C)."""
        return self.model(input)

    def parse_batch_test(self, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pictures (B, 3, S, S) and labels (B,) on the trainer's device."""
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def get_current_lr(self, names: str | list[str] | None = None) -> float:
        """Return the rate of the first parameter group of the first (named) model."""
        return self._optims[self.get_model_names(names)[0]].param_groups[0]["lr"]

    # --- reporting of an epoch, shared by the loops below

    def _train_batches(self, batches: Iterator[tuple[Any, ...]]) -> None:
        """Take one step for each tuple of batches; print and write what it reports."""
        self.set_model_mode("train")
        losses, batch_time, data_time = MetricMeter(), AverageMeter(), AverageMeter()
        end = time.time()
        for self.batch_idx, batch in enumerate(batches):
            data_time.update(time.time() - end)
            summary = self.forward_backward(*batch)
            batch_time.update(time.time() - end)
            losses.update(summary)
            self._report_batch(losses, batch_time, data_time)
            end = time.time()

    def _report_batch(
        self, losses: MetricMeter, batch_time: AverageMeter, data_time: AverageMeter
    ) -> None:
        """Print a batch's line (each PRINT_FREQ; each batch of short epochs), write its scalars."""
        done, total, frequency = self.batch_idx + 1, self.num_batches, self.cfg.TRAIN.PRINT_FREQ
        if done % frequency == 0 or total < frequency:
            remaining = total - done + (self.max_epoch - self.epoch - 1) * total
            print(
                f"epoch [{self.epoch + 1}/{self.max_epoch}] batch [{done}/{total}] "
                f"time {batch_time.val:.3f} ({batch_time.avg:.3f}) "
                f"data {data_time.val:.3f} ({data_time.avg:.3f}) "
                f"{losses} lr {self.get_current_lr():.4e} eta {_hms(batch_time.avg * remaining)}"
            )
        step = self.epoch * total + self.batch_idx
        for name, meter in losses.meters.items():
            self.write_scalar(f"train/{name}", meter.avg, step)
        self.write_scalar("train/lr", self.get_current_lr(), step)


class TrainerX(SimpleTrainer):
    """Trains on labelled pictures."""

    def run_epoch(self) -> None:
        """Take one step a batch of the labelled pictures."""
        self.num_batches = len(self.train_loader_x)
        self._train_batches((batch,) for batch in self.train_loader_x)

    def parse_batch_train(
        self, batch: dict[str, Any]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return pictures (B, 3, S, S), labels (B,) and domains (B,) on the trainer's device."""
        return tuple(batch[key].to(self.device) for key in ("img", "label", "domain"))


class TrainerXU(SimpleTrainer):
    """Trains on labelled and unlabelled pictures side by side; a loader that ends starts over."""

    def run_epoch(self) -> None:
        """Take as many steps as TRAIN.COUNT_ITER says; ConfigError where it names no loader."""
        lengths = {"train_x": len(self.train_loader_x), "train_u": len(self.train_loader_u)}
        lengths["smaller_one"] = min(lengths.values())
        count = self.cfg.TRAIN.COUNT_ITER
        if count not in lengths:
            raise ConfigError(f"TRAIN.COUNT_ITER is '{count}', not one of {', '.join(lengths)}")
        self.num_batches = lengths[count]
        pairs = zip(_forever(self.train_loader_x), _forever(self.train_loader_u), strict=True)
        self._train_batches(itertools.islice(pairs, self.num_batches))

    def parse_batch_train(
        self, batch_x: dict[str, Any], batch_u: dict[str, Any]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return labelled pictures, labels and unlabelled pictures on the trainer's device."""
        parts = batch_x["img"], batch_x["label"], batch_u["img"]
        return tuple(part.to(self.device) for part in parts)


def _forever(loader: DataLoader) -> Iterator[Any]:
    """Yield batches without end, a new pass when one is over."""
    while True:
        yield from loader
