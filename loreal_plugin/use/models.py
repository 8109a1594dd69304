"""A run or a package, opened to name pictures; the two answer alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from loreal_plugin.edge.layout import MANIFEST
from loreal_plugin.edge.package import Answer, Package
from loreal_plugin.errors import CheckpointError, ConfigError, unknown_name
from loreal_plugin.export.class_names import class_set
from loreal_plugin.inference.deployed import Deployed, Prediction
from loreal_plugin.inference_modes import MODES
from loreal_plugin.plain_output import counted
from loreal_plugin.results.record import RESULTS
from loreal_plugin.runs.trained_run import TrainedRun


class Model(Protocol):
    """What names pictures."""

    @property
    def title(self) -> str:
        """One line: what it is, on which pixels, among how many classes."""

    @property
    def note(self) -> str:
        """One line: what was asked for and cannot be as it was asked; mostly empty."""

    @property
    def classnames(self) -> Sequence[str]:
        """C class names."""

    def pixels(self, picture: Image.Image) -> Any:
        """Return a picture as the model reads it."""

    def best(self, pixels: Sequence[Any], top: int) -> list[list[Prediction | Answer]]:
        """Return the `top` most probable classes of each picture."""


class RunModel:
    """A trained run.

    Args:
        asked: the inference mode that was asked for; None: none was.
    """

    def __init__(self, deployed: Deployed, asked: str | None = None) -> None:
        self.deployed = deployed
        self.note = deployed.another_mode(asked)

    @property
    def classnames(self) -> Sequence[str]:
        """C class names."""
        return self.deployed.classnames

    @property
    def title(self) -> str:
        """One line about it."""
        d = self.deployed
        side = " on the adapted image side" if d.beta.adaptation else ""
        return (
            f"{d.facts['method']} with LOREAL{side} at {d.phi} pixels,"
            f" {counted(len(d.classnames), 'class')}, inference {d.inference}"
        )

    def pixels(self, picture: Image.Image) -> Any:
        """Return a picture as the model reads it, (3, phi, phi)."""
        return self.deployed.pixels(picture)

    def best(self, pixels: Sequence[Any], top: int) -> list[list[Any]]:
        """Return the `top` most probable classes of each picture."""
        return [list(row) for row in self.deployed.classify(torch.stack(list(pixels)), top)]


class PackageModel:
    """An exported package, in the runtime of its format."""

    note = ""

    def __init__(self, package: Package) -> None:
        self.package = package

    @property
    def classnames(self) -> Sequence[str]:
        """C class names."""
        return self.package.labels

    @property
    def title(self) -> str:
        """One line about it."""
        p = self.package
        return f"package {p.folder} at {p.size} pixels, {counted(len(p.labels), 'class')}"

    def pixels(self, picture: Image.Image) -> Any:
        """Return a picture as the encoder reads it, (S, S, 3)."""
        return self.package.pixels(picture)

    def best(self, pixels: Sequence[Any], top: int) -> list[list[Any]]:
        """Return the `top` most probable classes of each picture."""
        logits = self.package.logits(np.stack(list(pixels)))
        return [list(self.package.answers(row, top)) for row in logits]


def open_model(
    path: str,
    *,
    classes: str = "",
    inference: str | None = None,
    threads: int | None = None,
    host: str | None = None,
    weights: str | None = None,
    row: str = "",
) -> Model:
    """Return the run or package in a folder.

    Args:
        classes: a test set of the run, or a file with a class name a line; of a package: a head.
        inference: an inference mode of a run; None: the one that it was tested in.
        threads: processor threads; None: all.
        host, weights: of a run, where they lie elsewhere than its record says.
        row: of a run, `loreal` or `adapted`; empty: `adapted` where the run has it.

    Raises:
        LorealError: there is neither, or it cannot be opened as asked.
    """
    if inference and inference not in MODES:
        raise ConfigError(unknown_name("inference mode", inference, MODES))
    if (Path(path) / MANIFEST).is_file():
        if inference:
            raise ConfigError(
                f"{path} is a package, whose head is its inference mode; leave --inference out"
            )
        if row:
            raise ConfigError(f"{path} is a package, which has one student; leave --row out")
        count = torch.get_num_threads() if threads is None else threads
        return PackageModel(Package.open(path, head=classes, threads=count))
    if not Path(path).exists():
        raise CheckpointError(f"{path} does not exist; name the folder of a run or a package")
    if Path(path).is_dir() and not (Path(path) / RESULTS).is_file():
        raise CheckpointError(
            f"{path} is neither a run ({RESULTS}) nor a package ({MANIFEST}); name the folder of a"
            " run's stage 3, or one that loreal export wrote"
        )
    run = TrainedRun.open(path, host=host, weights=weights, row=row)
    names = class_set(run, classes)[1] if classes else ""
    deployed = run.deployed(names, inference)
    deployed.slim()
    if threads is not None:
        torch.set_num_threads(threads)
    return RunModel(deployed, inference)
