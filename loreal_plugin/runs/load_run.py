"""`load_run`: a finished run, opened to predict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from loreal_plugin.inference.deployed import Deployed
from loreal_plugin.runs.trained_run import TrainedRun


def load_run(
    folder: str | Path,
    *,
    classes: str | Sequence[str] = "",
    inference: str | None = None,
    host: str | None = None,
    weights: str | None = None,
    device: torch.device | str = "cpu",
    row: str = "",
) -> Deployed:
    """Open a finished run of any protocol and host; nothing is written.

    Args:
        folder: the folder of the run (stage 3's, or the one that has the run's results.json), or
            a folder or archive that `loreal pack` wrote.
        classes: a test set of the run (`base`, `new`, `all`, a target), or class names of your own;
            empty: the classes that were trained on.
        inference: an inference mode; None: the one that the run was tested in. Without contents in
            the slots (the adapted student's default) `tangent` and `auto` are `static`.
        host: the checkout that the run was made on; not needed for the embedded host.
        weights: the CLIP weights, where they lie elsewhere than when the run was made.
        device: where the model goes.
        row: `loreal` or `adapted`; empty: the student with the adapted image side, where there is
            one.

    Raises:
        LorealError: no such run, host, weights or classes, or files that do not fit or are damaged.
    """
    run = TrainedRun.open(folder, host=host, weights=weights, device=device, row=row)
    return run.deployed(classes, inference)
