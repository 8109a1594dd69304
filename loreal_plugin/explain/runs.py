"""A finished run with the pictures of a dataset beside it: what explanations are made of.

Shapes: B images, C classes, F features an image, D_v joint width, S side of an image in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.attach.clip_source import using_weights
from loreal_plugin.data.storage import saves_held_back
from loreal_plugin.inference.deployed import Deployed
from loreal_plugin.method.loreal import Loreal
from loreal_plugin.pictures import read_picture
from loreal_plugin.plain_output import Say, say_line
from loreal_plugin.runs.identity import Identity
from loreal_plugin.runs.reopen import reopened_engine
from loreal_plugin.runs.trained_run import TrainedRun
from loreal_plugin.students.share import share_clip_tensors
from loreal_plugin.students.student import Student


@dataclass(eq=False)
class OpenRun:
    """A finished run on the classes of one dataset.

    Attributes:
        trained: the run.
        deployed: both students, the meta-nets and the correction, for these classes.
        dataset: name of the dataset that is looked at.
        classes: which of its classes the prompts name: `base`, `new` or `all`.
        read_dataset: returns the host's dataset; the pictures are read when they are asked for.
    """

    trained: TrainedRun
    deployed: Deployed
    dataset: str
    classes: str
    read_dataset: Callable[[], Any]

    @property
    def record(self) -> dict[str, Any]:
        """The run's results.json."""
        return self.trained.record

    @property
    def model(self) -> Loreal:
        """Students, meta-nets and correction."""
        return self.deployed.model

    @property
    def host_trainer(self) -> str:
        """Registered name of the host's trainer."""
        return self.trained.host.contract.trainer

    @property
    def phi(self) -> int:
        """Side of the low-resolution input in pixels."""
        return self.trained.phi

    @property
    def native_size(self) -> int:
        """Side of the standard input in pixels."""
        return self.trained.native_size

    @property
    def row(self) -> str:
        """What the run is opened as, in the words of tables: LOREAL, or the adapted image side."""
        return "+ adapted image side" if self.beta.adaptation else "+ LOREAL"

    @property
    def host_at_phi(self) -> str:
        """The host below that row: trained at phi, or trained at the native size and adapted."""
        if self.beta.adaptation:
            return f"{self.host_trainer}, image side adapted to {self.phi}"
        return f"{self.host_trainer}, trained at {self.phi}"

    @property
    def title(self) -> str:
        """Which run this is, in one line."""
        ours, record = self.trained.host.contract.loreal_trainer, self.record
        adapted = " on the adapted image side" if self.beta.adaptation else ""
        return (
            f"{ours}{adapted} at {self.phi}, trained on {record['dataset']}, seed {record['seed']}"
        )

    @property
    def alpha(self) -> Student:
        """The student at the native size."""
        assert isinstance(self.model.alpha, Student), "runs are opened with alpha"
        return self.model.alpha

    @property
    def beta(self) -> Student:
        """The student at phi."""
        return self.deployed.beta

    @cached_property
    def alpha_at_phi(self) -> Student:
        """The host trained at the native size, reading pictures at phi."""
        names, of = self.beta.classnames, self.beta.cfg.DATASET.NAME
        student = self.trained.student(self.phi, names, "alpha", of_dataset=of)
        share_clip_tensors(self.alpha, student)
        return student

    # ---- pictures --------------------------------------------------------------------------------

    @cached_property
    def _dataset(self) -> Any:
        return self.read_dataset()

    def items(self, part: str) -> Sequence[Any]:
        """Return the dataset's pictures with `impath` and `label`.

        Args:
            part: `test`, or `train` (the few-shot ones).
        """
        return self._dataset.test if part == "test" else self._dataset.train_x

    @cached_property
    def _transforms(self) -> dict[int, Callable[[Any], Tensor]]:
        sizes = (self.native_size, self.phi)
        return {size: self.trained.transform(self.beta.cfg, size) for size in sizes}

    def pixels(self, path: str, size: int) -> Tensor:
        """Return a picture file as the host's test transform gives it, (1, 3, size, size).

        Raises:
            DataError: the file is missing or broken.
        """
        return self._transforms[size](read_picture(path))[None].to(self.trained.device)

    def shown(self, pixels: Tensor) -> Tensor:
        """Return transformed pixels (1, 3, S, S) as colours (S, S, 3) in [0, 1]."""
        given = self.beta.cfg.INPUT
        colours = pixels[0].float().cpu()
        if "normalize" in given.TRANSFORMS:
            mean, std = (
                torch.tensor(v)[:, None, None] for v in (given.PIXEL_MEAN, given.PIXEL_STD)
            )
            colours = colours * std + mean
        return colours.clamp(0, 1).permute(1, 2, 0)


def open_run(
    path: Path,
    *,
    dataset: str = "",
    classes: str = "",
    host: str | None = None,
    data: str | None = None,
    weights: str | None = None,
    row: str = "",
    say: Say = say_line,
) -> OpenRun:
    """Return a finished run with its model loaded; nothing is written.

    Args:
        path: its results.json or the folder that has it.
        dataset: another dataset than the run's to look at.
        classes: `base`, `new` or `all`; empty means those that were trained on.
        host, data, weights: as for `loreal base2new`; the record does not hold where things lie on
            this machine.
        row: `loreal`, or `adapted`: the student with the adapted image side; empty: the one that
            `loreal predict` uses, `adapted` where the run has it.

    Raises:
        LorealError: no such run, dataset, host or weights, or they do not fit each other.
    """
    trained = TrainedRun.open(path, host=host, weights=weights, row=row)
    record, known = trained.record, trained.deployment
    trained_on = record["config"]["DATASET.SUBSAMPLE_CLASSES"]
    named, looked_at = classes or trained_on, dataset or record["dataset"]

    @cache
    def identity() -> Identity:
        return reopened_engine(trained, dataset=looked_at, host=host, data=data, say=say).identity

    def read_dataset() -> Any:
        with using_weights(trained.weights), saves_held_back():
            return identity().dataset(named)

    # a run that tests on all classes keeps them under its dataset's name
    kept = known.trained_on if named == trained_on else named
    at_home = looked_at == record["dataset"] and kept in known.classnames
    names = list(known.classnames[kept]) if at_home else list(read_dataset().classnames)
    say(f"loading {trained.host.contract.loreal_trainer} of {trained.folder}")
    words = trained.words_for(names, looked_at)
    of = known.datasets.get(kept, "") if at_home else identity().dataset_name(named)
    deployed = trained.deployed(names, "exact", words=words, with_alpha=True, of_dataset=of)
    run = OpenRun(trained, deployed, looked_at, named, read_dataset)
    say(which_student(run, asked=bool(row)))
    return run


def which_student(run: OpenRun, *, asked: bool) -> str:
    """Return in one line which student of a run is looked at, and how to look at another.

    Args:
        asked: a row was named, so nothing was chosen.
    """
    adapted = bool(run.beta.adaptation)
    which = "with the adapted image side" if adapted else "of LOREAL"
    why = "" if asked else ", which predict uses, too"
    other = "; --row loreal: the one without it" if adapted and not asked else ""
    return f"the student {which}{why}{other}"
