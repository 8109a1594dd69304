"""Values with which a run cannot end well, though every word of them can be read: refused before
anything is trained.
"""

from __future__ import annotations

import math
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loreal_plugin.errors import ConfigError, DataError
from loreal_plugin.runs.identity import Identity
from loreal_plugin.runs.plan import Plan

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
    """Raise DataError where a test has one class, which every model names rightly.

    Names that a prompt cannot tell apart are said.
    """
    for name, test in plan.tests.items():
        names = list(identity.dataset(name).classnames)
        if len(names) < 2:
            words = "base and new halves are two classes each at least: four in all"
            what = words if plan.protocol.halves else "at least two classes are needed"
            raise DataError(
                f"dataset '{test.dataset}' has one class ('{names[0]}') to test on as '{name}',"
                f" and any model is right about it; {what}"
            )
        alike = Counter(one.replace("_", " ").casefold().strip() for one in names)
        twice = sorted(one for one, count in alike.items() if count > 1)
        if twice:
            say(
                f"warning: {len(twice)} class name(s) of '{test.dataset}' come twice in prompts,"
                f" which know neither case nor underscores: {', '.join(twice[:3])}; rename one"
            )


def check_places(out: Path) -> None:
    """Raise ConfigError where results cannot be written, for want of rights or of room."""
    place = out
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise ConfigError(f"OUT '{out}': {place} is a file; name a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ConfigError(f"OUT '{out}': {place} may not be written; set OUT to another folder")
    if (free := shutil.disk_usage(place).free) < LEAST_ROOM:
        raise ConfigError(
            f"OUT '{out}': {free / 2**20:.0f} MiB are free there, and a run needs at least"
            f" {LEAST_ROOM / 2**20:.0f}; make room, or set OUT to another disk"
        )
