"""Runs that belong beside another run's table: controls of LOREAL, and what one would try instead
of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loreal_plugin.contract import CONTRACTS
from loreal_plugin.options import (
    INFERENCE_ONLY,
    LOREAL,
    LorealOptions,
    inference_only,
    options_dict,
)
from loreal_plugin.results.run import Row, Run

CONSTANT = "TRAINER.LOREAL.CONSTANT_CONDITIONING"
INFERENCE = "TRAINER.LOREAL.INFERENCE"
LONGER = "OPTIM.MAX_EPOCH"
PLAIN, CONTROL, RIVAL = range(3)


@dataclass(frozen=True)
class Placed:
    """A run's rows in the table that they belong to.

    Attributes:
        configuration: name of the folder of the run whose table it is.
        order: place in that table: a run's own rows (`PLAIN`), a `CONTROL`, a `RIVAL`.
        rows: those that the table needs.
        overrides: of the run whose table it is.
        asked: of the command that made this run.
    """

    run: Run
    configuration: str
    order: int
    rows: tuple[Row, ...]
    overrides: tuple[str, ...]
    asked: tuple[str, ...]

    @property
    def control(self) -> bool:
        """Return whether this stands in the table of the run that it controls."""
        return self.order == CONTROL

    @property
    def ablation(self) -> bool:
        """Return whether this has overrides and stands in no other run's table."""
        return self.order == PLAIN and bool(self.run.overrides)


def place(run: Run, configuration: str, unchanged: Mapping[str, Any] | None = None) -> Placed:
    """Return where a run's rows belong.

    A run whose one override is a control (constant conditioning; a stage 2 that is as much longer
    as stage 3 takes) gets the folder of the run it controls and one row under a name of its own,
    and so does one that predicts in another inference mode. Any other run stays as it is.

    Args:
        configuration: name of the run's folder.
        unchanged: record of the same run without overrides; without it no stage 2 is a control.
    """
    if run.rivals:
        # what was fitted differs between seeds
        rows = tuple(replace(row, label=row.name) for row in run.rows)
        return Placed(run, configuration, RIVAL, rows, run.overrides, run.overrides)
    overrides = [tuple(words) for words in run.facts.get("overrides") or ()]
    controlled = re.sub(r"-[0-9a-f]{8}$", "", configuration)
    if overrides == [("loreal", CONSTANT, "True")]:
        change = "constant conditioning"
        rows = _renamed(run, "loreal", "loreal_constant", f"+ LOREAL, {change}", change)
        return Placed(run, controlled, CONTROL, rows, (), run.overrides)
    if _mode_was_asked_for(run, overrides):
        trained = Path(run["stages"]["loreal"]["folder"]).parent.name
        training = tuple(text for text in run.overrides if not inference_only(text.split()[1]))
        asked = run.overrides if training != run.overrides else (*training, *_mode_keys(run))
        return Placed(run, trained, CONTROL, _other_inference(run), training, asked)
    if _is_longer(overrides, unchanged):
        change = "trained on for as many steps as stage 3 takes"
        text = f"{_host_trainer(run)} at {run['phi']}, {change}"
        rows = _renamed(run, "phi", "phi_longer", text, change)
        return Placed(run, controlled, CONTROL, rows, (), run.overrides)
    return Placed(run, configuration, PLAIN, run.rows, run.overrides, run.overrides)


def _mode_keys(run: Run) -> tuple[str, ...]:
    """Return the overrides that ask for the mode that a run predicts in."""
    return tuple(f"loreal {LOREAL}{key} {value}" for key, value in _acting(run).items())


def _is_longer(overrides: Sequence[tuple[str, ...]], unchanged: Mapping[str, Any] | None) -> bool:
    """Return whether all that a run changes is that stage 2 takes stage 3's steps, too."""
    if [words[:2] for words in overrides] != [("beta", LONGER)]:
        return False
    stages = (unchanged or {}).get("stages") or {}
    beta, loreal = stages.get("beta"), stages.get("loreal")
    if not beta or not loreal:
        return False
    epochs = longer_epochs(beta, loreal["epochs"] * loreal["steps_per_epoch"])
    return overrides[0][2:] == (str(epochs),)


def _host_trainer(run: Run) -> str:
    """Return the trainer of a run's stages 1 and 2: its record names that of its last stage."""
    contract = CONTRACTS.get(run["method"])
    return contract.trainer if contract else run["trainer"].removesuffix("_LOREAL")


def longer_epochs(beta: Mapping[str, Any], stage3_steps: int) -> int:
    """Return how many epochs stage 2 (its facts in a run's record) takes with stage 3's steps on
    top of its own.
    """
    return beta["epochs"] + -(-stage3_steps // max(1, beta["steps_per_epoch"]))


def _mode_was_asked_for(run: Run, overrides: Sequence[tuple[str, ...]]) -> bool:
    """Return whether a run predicts in an inference mode that is not its calibration's choice."""
    mode = run.facts.get("inference")
    if mode is not None:
        return "chosen" not in mode
    return overrides == [("loreal", INFERENCE, "exact")]


def _acting(run: Run) -> dict[str, Any]:
    """Return the keys of a run's inference mode that are not as usual."""
    mode, usual = run["inference"] or {"INFERENCE": "exact"}, options_dict(LorealOptions())
    return {
        key: mode[key]
        for key in usual
        if key in INFERENCE_ONLY and mode.get(key, usual[key]) != usual[key]
    }


def _other_inference(run: Run) -> tuple[Row, ...]:
    """Return the row of a run that does not predict exactly, named by the keys that say how."""
    acting = _acting(run)
    name = "_".join(["loreal", *map(str, acting.values())])
    texts = [f"{key} {value}" for key, value in acting.items()]
    change = texts[-1] if texts else ""
    return _renamed(run, "loreal", name, f"+ LOREAL, {', '.join(texts)}", change)


def _renamed(run: Run, row: str, name: str, label: str, change: str) -> tuple[Row, ...]:
    """Return the one row of a run under another name."""
    return tuple(
        replace(found, name=name, label=label, change=change)
        for found in run.rows
        if found.name == row
    )
