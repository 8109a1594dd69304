"""A finished stage of a host, opened: its frozen model for any classes, at any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.attach import AttachedHost
from loreal_plugin.attach.clip_source import using_weights
from loreal_plugin.runs.logs import quietly
from loreal_plugin.students.build import build_student
from loreal_plugin.students.student import Student


@dataclass(frozen=True)
class TrainedStage:
    """What a host learned at one size, and where it goes.

    Attributes:
        host: attached for the method.
        weights: name or file of the CLIP weights.
        device: where models go.
        folder: output folder of the training; None where nothing was learned, or `learned` has it.
        epoch: of the training; 0 or None is the last.
        learned: the learned tensors by name, where they are at hand.
    """

    host: AttachedHost
    weights: str
    device: torch.device
    folder: Path | None = None
    epoch: int | None = None
    learned: Mapping[str, Tensor] | None = None

    def student(self, cfg: Any, classnames: Sequence[str], size: int, enlarge: int = 0) -> Student:
        """Return the frozen model, without slots.

        Args:
            cfg: a configuration of the host; its input size is replaced.
            classnames: C names, in the order of the logits.
            size: side of the pictures, pixels.
            enlarge: side to which the student enlarges them; 0: it does not.

        Raises:
            CheckpointError: what was learned is missing or does not fit.
        """
        with using_weights(self.weights):
            return quietly(
                lambda: build_student(
                    self.host,
                    cfg,
                    classnames,
                    self.device,
                    input_size=size,
                    checkpoint_dir=self.folder,
                    epoch=self.epoch,
                    learned=self.learned,
                    enlarge=enlarge,
                )
            )
