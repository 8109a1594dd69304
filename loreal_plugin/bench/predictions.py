"""Our prediction in each inference mode, with random tables of the right sizes.

What a mode costs does not depend on the values of its tables.

Shapes: B images, C classes, H activations of the meta-nets, R directions, T terms, D_v joint width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.bench.models import CellModels
from loreal_plugin.inference.builder import ModeBuilder
from loreal_plugin.inference.deployed import Deployed
from loreal_plugin.inference.expansion import Directions, Expansion
from loreal_plugin.inference.expansion_store import Statistics, draw_statistics
from loreal_plugin.inference_modes import MODES
from loreal_plugin.options import LorealOptions


def build_prediction(models: CellModels, name: str, order: str) -> Callable[[Tensor], Tensor]:
    """Return our prediction in a mode, pictures (B, 3, phi, phi) -> logits (B, C).

    Args:
        name: a mode; `auto@R` predicts R percent of the cell's pictures exactly, those whose
            two best classes are closest.
        order: slot order.
    """
    mode, _, rate = name.partition("@")
    model = models.model(order, mode)
    modes = CellModes(model, Path(), {}, lambda: models.features["beta"], models)
    deployed = Deployed(model, modes, transform=_no_pictures, facts={})
    if mode != "exact":
        model.mode = modes.mode(model.options, margin=0.0)
    if rate:
        checked = round(int(rate) / 100 * models.cell.batch)
        model.mode.margin = margin_for(model.mode.first(models.features["beta"]), checked)
    models.deployed = deployed
    return deployed.logits


def _no_pictures(*_: Any) -> Tensor:
    raise RuntimeError("a cell has random pictures as tensors and none to read")


@dataclass(frozen=True)
class CellModes(ModeBuilder):
    """Builds modes whose tables are made of the cell's pictures or drawn, and kept nowhere."""

    models: CellModels

    def statistics(self) -> Statistics:
        """Return the statistics of the cell's pictures."""
        return draw_statistics(self.activations(self.training_features()))

    def expansion(self, options: LorealOptions) -> tuple[Expansion, dict[str, Any]]:
        """Return a random expansion of the size that the options ask for."""
        return random_expansion(self.models, self.statistics().mean, options), {}


def random_expansion(models: CellModels, mean: Tensor, options: Any) -> Expansion:
    """Return an expansion with as many directions and products as the options ask for."""
    generator = torch.Generator().manual_seed(0)
    rank = options.tangent_rank or len(mean)
    products = min(rank, options.tangent_products) if options.tangent_kind == "fitted" else 0
    basis = torch.linalg.qr(torch.randn(len(mean), rank, generator=generator))[0]
    directions = Directions(mean.cpu(), basis, torch.ones(rank), products)
    shape = (models.cell.n_classes, models.visual_dim)
    base = torch.randn(shape, generator=generator)
    table = 0.01 * torch.randn(directions.n_terms, *shape, generator=generator)
    return Expansion(directions, base, table).to(models.device, models.beta.dtype)


def margin_for(first: Tensor, checked: int) -> float:
    """Return the margin within which `checked` of the B pictures have more than one class.

    Args:
        first: logits (B, C) of the first pass.
        checked: number of pictures.
    """
    if not checked:
        return 0.0
    top = first.float().topk(2, dim=1).values
    gaps = (top[:, 0] - top[:, 1]).sort().values
    return float(gaps[checked - 1]) * (1 + 1e-5)


def slim(models: CellModels, variant: str) -> None:
    """Let go of what predictions of a variant do not need, as a deployed model does."""
    if models.deployed is not None:
        models.deployed.slim()
        models.beta.slim(text=MODES[models.deployed.inference].needs_text)
    else:
        student = models.adapted if variant == "adapted" else models.beta
        student.slim(text=variant not in ("host", "adapted"))
