"""What a picture costs in every row of a run: measured in turns, on the models as one deploys them.

A picture is in memory and of the row's size, and comes alone. The host's text features are made
before the clock runs, once; LOREAL predicts in the mode of its test.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.inference.deployed import Deployed
from loreal_plugin.runs.deployed_stage import open_stage
from loreal_plugin.runs.engine import Engine
from loreal_plugin.runs.plan import Row
from loreal_plugin.runs.timing import clock_of, interleave
from loreal_plugin.runs.trained_stage import TrainedStage
from loreal_plugin.students.build import device_of

VARIABLE = "LOREAL_PICTURE_TIMES"  # 0: not measured
_ROUNDS, _SECONDS, _PICTURES = 5, 10.0, 16


def known_times(
    previous: Mapping[str, Any] | None, record: Mapping[str, Any]
) -> dict[str, float] | None:
    """Return the times of an earlier record of the same run on the same machine, None without one.

    Args:
        previous: the record that lies in the run's folder, with rows where it is a run's.
        record: the run's new one.
    """
    same = ("phi", "stages", "inference", "device", "threads")
    if not previous or any(previous.get(name) != record.get(name) for name in same):
        return None
    rows = previous.get("rows") or ()
    found = {row["name"]: row["picture_ms"] for row in rows if row.get("picture_ms")}
    return found if found.keys() >= {row["name"] for row in record["rows"]} else None


def picture_times(engine: Engine, names: Collection[str]) -> dict[str, float]:
    """Return milliseconds a picture by row name; none where they are switched off.

    Args:
        names: rows whose stages are there.
    """
    if switched_off():
        return {}
    device = device_of(engine.cfgs["loreal"])
    rows = [row for row in engine.plan.rows if row.name in names]
    return picture_milliseconds(
        {row.name: _prediction(engine, row, device) for row in rows}, device
    )


def switched_off() -> bool:
    """Return whether LOREAL_PICTURE_TIMES says that nothing is to be timed."""
    return os.environ.get(VARIABLE) == "0"


def picture_milliseconds(
    calls: Mapping[str, Callable[[], object]], device: torch.device
) -> dict[str, float]:
    """Return milliseconds a call by name, timed in turns; none where times are switched off.

    Args:
        calls: each predicts one picture.
    """
    if switched_off():
        return {}
    samples = interleave(calls, rounds=_ROUNDS, budget_s=_SECONDS, device=device)
    clock = clock_of(device)
    return {name: 1000 * statistics.median(samples[name][clock]) for name in calls}


def _prediction(engine: Engine, row: Row, device: torch.device) -> Callable[[], Tensor]:
    """Return a prediction of a row: one picture in, logits (1, C) out."""
    plan, stage = engine.plan, engine.plan.stages[row.stage]
    if stage.loreal:
        cfg = engine.cfgs[stage.name]
        deployed = open_stage(engine.host, plan, engine.identity, cfg, stage, plan.source, device)
        deployed.use(engine.identity.options_of(stage.name))
        # a mode may do more for a picture whose classes are close: test pictures take turns
        pictures = cycle(
            _some_pictures(deployed, engine.identity.dataset(plan.source).test, device)
        )
        return lambda: deployed.logits(next(pictures))
    trained = TrainedStage(engine.host, plan.spec.weights, device, stage.folder)
    cfg = engine.resolve(stage, row, plan.source)
    names = list(engine.identity.dataset(plan.source).classnames)
    student, picture = trained.student(cfg, names, row.size), blank_picture(row.size, device)
    _ = student.host_texts  # made before the clock runs
    return lambda: student.host_logits(student.encode_image(picture))


def _some_pictures(deployed: Deployed, items: Sequence[Any], device: torch.device) -> list[Tensor]:
    """Return pictures (1, 3, phi, phi) from all over a test set."""
    some = items[:: max(1, len(items) // _PICTURES)][:_PICTURES]
    return [deployed.pixels(item.impath)[None].to(device) for item in some]


def blank_picture(size: int, device: torch.device) -> Tensor:
    """Return a picture (1, 3, size, size) without content."""
    return torch.zeros(1, 3, size, size, device=device)
