"""Values with which a run cannot end well, though every word of them can be read: refused before
anything is trained.
"""

from __future__ import annotations

import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from loreal_plugin.data.demo import DEMO_DATASETS
from loreal_plugin.errors import ConfigError, DataError
from loreal_plugin.runs.identity import Identity
from loreal_plugin.runs.plan import Plan
from loreal_plugin.runs.spec import RunSpec

# no recipe of the field comes near it (a linear probe of MoCo takes 30); beyond, training diverges
HIGHEST_RATE = 100.0
LEAST_ROOM = 50 * 2**20  # bytes: a small run's checkpoints and logs


def check_phi(phi: int, native_size: int, weights: str) -> None:
    """Raise ConfigError unless phi is below the size that the weights are made for."""
    if phi >= native_size:
        raise ConfigError(
            f"PHI {phi} is not below {native_size}, the native size of the CLIP weights"
            f" '{weights}': there nothing is lost that LOREAL could give back; choose a PHI below"
            f" {native_size}"
        )


def check_training(cfg: Any, stage: str) -> None:
    """Raise ConfigError where a stage would train nothing, or with a rate that cannot end well."""
    if int(cfg.OPTIM.MAX_EPOCH) < 1:
        raise ConfigError(
            f"OPTIM.MAX_EPOCH is {cfg.OPTIM.MAX_EPOCH} in stage '{stage}': a stage trains at least"
            " 1 epoch, because its checkpoint is what the table tests"
        )
    rate = float(cfg.OPTIM.LR)
    if not (math.isfinite(rate) and 0 <= rate <= HIGHEST_RATE):
        raise ConfigError(
            f"OPTIM.LR is {cfg.OPTIM.LR} in stage '{stage}': it must lie between 0 and"
            f" {HIGHEST_RATE:.0f}; the recipe's own is in {cfg.TRAINER.NAME}'s YAML"
        )


def check_classes(plan: Plan, identity: Identity, say: Callable[[str], None]) -> None:
    """Raise DataError where what is trained on, or every test, has one class, which any model names
    rightly.

    A half with one class beside another one, and names that a prompt cannot tell apart, are said.
    """
    for name, test in plan.tests.items():
        names = list(identity.dataset(name).classnames)
        if len(names) < 2 and (name == plan.source or not plan.protocol.halves):
            words = "the half that is trained needs two classes at least: three in all"
            what = words if plan.protocol.halves else "at least two classes are needed"
            raise DataError(
                f"dataset '{test.dataset}' has one class ('{names[0]}') to test on as '{name}',"
                f" and any model is right about it; {what}"
            )
        for sentence in doubtful_classes(name, test.dataset, names):
            say(f"warning: {sentence}")


def doubtful_classes(test: str, dataset: str, names: Sequence[str]) -> list[str]:
    """Return what is to be said, in the log and beside the table, of the classes of a test set."""
    found = []
    if len(names) < 2:
        found.append(
            f"half '{test}' has one class ('{names[0]}'): any model is right about it, so accuracy"
            " on it and HM mean nothing."
        )
    alike = Counter(one.replace("_", " ").casefold().strip() for one in names)
    twice = sorted(one for one, count in alike.items() if count > 1)
    if twice:
        found.append(
            f"{len(twice)} class name(s) of '{dataset}' come twice in prompts, which know neither"
            f" case nor underscores: {', '.join(twice[:3])}; no model can tell them apart: rename"
            " one."
        )
    return found


def check_drawn_place(spec: RunSpec) -> None:
    """Raise ConfigError where the demonstration's pictures are not there and cannot be drawn."""
    if spec.dataset not in DEMO_DATASETS or (spec.data / "demo").is_dir():
        return
    place = _nearest(spec.data)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        why = "may not be written" if place.is_dir() else "is a file"
        raise ConfigError(
            f"LOREAL_CACHE (or DATA) '{spec.data}': {place} {why}, and the pictures"
            f" of '{spec.dataset}' are drawn there; name another folder"
        )


def _nearest(path: Path) -> Path:
    """Return a path, or the first above it that exists."""
    try:
        return next(place for place in (path, *path.parents) if place.exists())
    except OSError as error:  # a name that is too long
        raise ConfigError(f"'{path}' cannot be a folder: {error.strerror}; name another") from error


def check_places(out: Path) -> None:
    """Raise ConfigError where results cannot be written, for want of rights or of room."""
    place = _nearest(out)
    if not place.is_dir():
        raise ConfigError(f"OUT '{out}': {place} is a file; name a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ConfigError(f"OUT '{out}': {place} may not be written; set OUT to another folder")
    if (free := shutil.disk_usage(place).free) < LEAST_ROOM:
        raise ConfigError(
            f"OUT '{out}': {free / 2**20:.0f} MiB are free there, and a run needs at least"
            f" {LEAST_ROOM / 2**20:.0f}; make room, or set OUT to another disk"
        )
