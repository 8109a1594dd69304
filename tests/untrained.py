"""A model ready to predict at toy size, with random weights and tables: nothing is trained."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch

from loreal_plugin.bench.cells import Cell
from loreal_plugin.bench.models import CellModels
from loreal_plugin.bench.predictions import CellModes
from loreal_plugin.inference.deployed import Deployed
from loreal_plugin.method.correction import Correction
from loreal_plugin.paths import embedded_host
from loreal_plugin.runs.logs import quietly
from loreal_plugin.trainer.data import resized

KEY = "5" * 64


def untrained(method: str, mode: str, *, fusion: bool = True, size: str = "tiny") -> Deployed:
    """Return a deployed model of five classes; embeddings are corrected, nothing is zero."""
    phi = 32 if size == "tiny" else 96
    models = CellModels(Cell("predict", method, phi, 5, 4, (), size=size), embedded_host())
    models.__dict__["fusion"] = fusion  # instead of what the task of the configuration says
    generator = torch.Generator().manual_seed(2)
    for value in models.beta.learned.values():  # a learned context that is no word
        value.data.add_(0.05 * torch.randn(value.shape, generator=generator))
    model = models.model("class_first", mode)
    modes = CellModes(model, Path(), {}, lambda: models.features["beta"], models)
    model.mode = modes.mode(model.options)
    count, width = models.features["beta"].shape[1:]
    generator = torch.Generator().manual_seed(3)
    model.correction = Correction(0.1 * torch.randn(count, width, generator=generator))

    cfg = resized(model.beta.cfg, phi)
    build = importlib.import_module("dassl.data.transforms").build_transform
    transform = quietly(lambda: build(cfg, is_train=False))
    facts = {"key": KEY, "method": method, "phi": phi}
    return Deployed(model, modes, transform, facts)
