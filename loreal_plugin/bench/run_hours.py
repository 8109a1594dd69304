"""How long runs take at most on a device, from what `loreal bench` has measured there.

A measured step or prediction is taken to grow with classes and pictures as its work does:

- a step of the host runs its image side for B pictures and its text side for C classes: at most
  max(C / C0, B / B0) times one that was measured at C0 and B0
- a step of LOREAL runs the text side for B pictures and C classes: at most (C / C0) (B / B0) times
- a prediction of the mode `exact` runs it for C classes: at most C / C0 times

Never less than what was measured. Reading pictures is not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from loreal_plugin.bench.lookup import Results
from loreal_plugin.contract import CONTRACTS
from loreal_plugin.paths import bundle_root
from loreal_plugin.results.protocols import PROTOCOLS
from loreal_plugin.sweep.planned_runs import Run

NATIVE = 224  # pixels of the published weights
SHORT_NAMES = {"OPTIM.MAX_EPOCH": "epochs", "DATALOADER.TRAIN_X.BATCH_SIZE": "batch"}


@dataclass(frozen=True)
class Counted:
    """Classes and test pictures of a dataset."""

    classes: int
    test: int


class BenchTimes:
    """Upper bounds for the seconds of parts of runs; used where finished runs would tell the times.

    Args:
        results: the record of one device.
        datasets: by name; a run on any other has no time.
    """

    def __init__(self, results: Results, datasets: Mapping[str, Counted]) -> None:
        self._results, self._datasets = results, datasets

    def seconds(self, run: Run, name: str) -> tuple[float | None, bool]:
        """Return the seconds of a part of a run, or None, and True: they are an estimate."""
        tested = self._tested(run)
        if tested is None:
            return None, True
        of_host = {"native tests": (NATIVE, 1), "host tests": (run.spec.phi, 2)}
        if name in ("alpha", "beta", "loreal"):
            return self._training(run, name), True
        if name in of_host:
            size, rows = of_host[name]  # pixels, rows of the run's table
            picture = self._least("infer", run, size, "host", lambda c, b: 1.0)
            return _product(picture, rows * tested), True
        if name == "test":
            classes = self._datasets[run.spec.dataset].classes
            picture = self._least(
                "infer", run, run.spec.phi, "exact:class_first", lambda c, b: classes / c
            )
            return _product(picture, tested), True
        return None, True

    def _tested(self, run: Run) -> int | None:
        """Return how many pictures a run tests in each row, None where that is not known."""
        protocol, source = PROTOCOLS[run.table], run.spec.dataset
        names = (source, *protocol.known_targets.get(source, ()))
        if not protocol.trains or any(name not in self._datasets for name in names):
            return None
        return sum(self._datasets[name].test for name in names)

    def _training(self, run: Run, stage: str) -> float | None:
        facts, spec = recipe_facts(run, stage), run.spec
        classes = self._datasets[spec.dataset].classes
        if PROTOCOLS[run.table].classes == "base":
            classes = -(-classes // 2)
        batch = facts["batch"]
        steps = facts["epochs"] * max(1, spec.shots * classes // batch)
        size = NATIVE if stage == "alpha" else spec.phi
        if stage == "loreal":
            # both image sides: without a cache of views this is what a step takes
            step = self._least(
                "train",
                run,
                size,
                "uncached:class_first",
                lambda c, b: max(1.0, classes / c) * max(1.0, batch / b),
                whole=True,
            )
        else:
            step = self._least(
                "train", run, size, "host", lambda c, b: max(classes / c, batch / b), whole=True
            )
        return _product(step, steps)

    def _least(
        self, kind: str, run: Run, size: int, variant: str, grown: Any, *, whole: bool = False
    ) -> float | None:
        """Return the least of the bounds that the measured cells give, in seconds.

        Args:
            grown: (classes, batch) of a cell -> how much more is to be done.
            whole: of a whole batch, not of one picture of it.
        """
        bounds = []
        for cell, record in self._results.records.items():
            if (cell.kind, cell.method, cell.phi) != (kind, run.spec.method, size):
                continue
            found = self._results.milliseconds(record, variant)
            if found is not None:
                each = found["median"] * (cell.batch if whole else 1) / 1000
                bounds.append(each * max(1.0, grown(cell.n_classes, cell.batch)))
        return min(bounds, default=None)


def _product(each: float | None, count: int) -> float | None:
    return None if each is None else each * count


def recipe_facts(run: Run, stage: str) -> dict[str, int]:
    """Return epochs and batch of a stage: what overrides say, else the recipe's file.

    Raises:
        OSError: the run's recipe has no file.
    """
    name = run.spec.recipe if stage == "loreal" else f"host_{run.spec.recipe}"
    folder = bundle_root() / "configs" / "trainers" / CONTRACTS[run.spec.method].loreal_trainer
    content = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    given = {o.key: o.value for o in run.spec.overrides_for(stage)}
    found = {}
    for key, short in SHORT_NAMES.items():
        value: Any = content
        for part in key.split("."):
            value = value[part]
        found[short] = int(given.get(key, value))
    return found
