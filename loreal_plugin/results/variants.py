"""Runs that belong beside another run's table: controls of LOREAL, and what one would try instead
of it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from loreal_plugin.options import INFERENCE_ONLY, LorealOptions, options_dict

CONSTANT = "TRAINER.LOREAL.CONSTANT_CONDITIONING"
LONGER = "OPTIM.MAX_EPOCH"
_PLAIN, _CONTROL, _RIVAL = range(3)


def merge_variant(record: dict[str, Any]) -> dict[str, Any]:
    """Return a run's record with only the rows that its table needs, and its place there as
    `order`.

    A run whose one override is a control (constant conditioning; a longer stage 2) gets the label
    of the run it controls and one row under a name of its own, and so does one that predicts in
    another inference mode. Any other run stays as it is.
    """
    if record["kind"] == "rivals":
        return record | {
            "order": _RIVAL,
            "rows": [row | {"label": row["name"]} for row in record["rows"]],
        }
    overrides = [tuple(words) for words in record.get("overrides", [])]
    plain = {"label": re.sub(r"-[0-9a-f]{8}$", "", record["label"]), "order": _CONTROL}
    if overrides == [("loreal", CONSTANT, "True")]:
        text = "+ LOREAL, constant conditioning"
        return record | plain | {"rows": _renamed(record, "loreal", "loreal_constant", text)}
    if record.get("inference"):
        # its overrides are those of the training that it tests
        usual = {
            key: value
            for key, value in options_dict(LorealOptions()).items()
            if key in INFERENCE_ONLY
        }
        acting = {
            key: record["inference"][key] for key in usual if record["inference"][key] != usual[key]
        }
        name = "_".join(["loreal", *map(str, acting.values())])
        text = f"+ LOREAL, {', '.join(f'{key} {value}' for key, value in acting.items())}"
        trained = {
            "label": Path(record["stages"]["loreal"]["folder"]).parent.name,
            "order": _CONTROL,
        }
        return record | trained | {"rows": _renamed(record, "loreal", name, text)}
    if [(scope, key) for scope, key, _ in overrides] == [("beta", LONGER)]:
        text = (
            f"{record['trainer']} at {record['phi']}, trained on for as many steps as stage 3 takes"
        )
        return record | plain | {"rows": _renamed(record, "phi", "phi_longer", text)}
    return record | {"order": _PLAIN}


def is_ablation(run: dict[str, Any]) -> bool:
    """Return whether a merged record is a run with overrides that stands in no other run's table."""
    return run["order"] == _PLAIN and bool(run.get("overrides"))


def longer_epochs(beta: dict[str, Any], stage3_steps: int) -> int:
    """Return how many epochs stage 2 (its facts in a run's record) takes with stage 3's steps on
    top of its own.
    """
    return beta["epochs"] + -(-stage3_steps // max(1, beta["steps_per_epoch"]))


def _renamed(record: dict[str, Any], row: str, name: str, label: str) -> list[dict[str, Any]]:
    """Return the one row of a record under another name."""
    return [
        found | {"name": name, "label": label} for found in record["rows"] if found["name"] == row
    ]
