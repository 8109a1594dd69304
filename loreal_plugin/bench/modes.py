"""Inference modes with random tables of the right sizes: what a mode costs does not depend on their
values.

Shapes: B images, C classes, H activations of the meta-nets, R directions, T terms, D_v joint width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.bench.models import Workshop
from loreal_plugin.inference.expansion import Directions, Expansion
from loreal_plugin.inference.modes import FIRST_PASS, Inference


def ready(shop: Workshop, name: str, order: str) -> Callable[[Tensor], Tensor]:
    """Return our prediction in a mode, pictures (B, 3, phi, phi) -> logits (B, C).

    Args:
        name: a mode; `auto@R` checks R percent of the cell's pictures exactly, those that are
            closest to call.
    """
    mode, _, rate = name.partition("@")
    model = shop.model(order, mode)
    if mode != "exact":
        model.inference = build_mode(shop, model)
    if rate:
        checked = round(int(rate) / 100 * shop.cell.batch)
        model.inference.margin = margin_for(model.inference.first(shop.features["beta"]), checked)
    shop.deployed = model

    @torch.no_grad()
    def predict(
        pictures: Tensor,
    ) -> Tensor:  # decorating the model itself would keep a second hold on its parts
        return model(pictures)

    return predict


@torch.no_grad()
def build_mode(shop: Workshop, model: Any) -> Inference:
    """Return the mode of a model's options, around the pictures' own mean."""
    beta, options = shop.beta, model.options

    def condition(features: Tensor) -> Tensor:
        return beta.condition(features, options.mmrl_condition)

    mean = shop.nets.hidden(condition(shop.features["beta"])).flatten(1).mean(0)
    expands = FIRST_PASS.get(options.inference, options.inference) == "tangent"
    return Inference(
        mode=options.inference,
        student=beta,
        path=model.paths["beta"],
        meta_nets=shop.nets,
        condition=condition,
        fusion=shop.fusion,
        mean=mean,
        expansion=random_expansion(shop, mean, options) if expands else None,
        k=options.shortlist_k,
    )


def random_expansion(shop: Workshop, mean: Tensor, options: Any) -> Expansion:
    """Return an expansion with as many directions and products as the options ask for."""
    generator = torch.Generator().manual_seed(0)
    rank = options.tangent_rank or len(mean)
    products = min(rank, options.tangent_products) if options.tangent_kind == "fitted" else 0
    basis = torch.linalg.qr(torch.randn(len(mean), rank, generator=generator))[0]
    directions = Directions(mean.cpu(), basis, torch.ones(rank), products)
    shape = (shop.cell.n_classes, shop.visual_dim)
    base = torch.randn(shape, generator=generator)
    table = 0.01 * torch.randn(directions.n_terms, *shape, generator=generator)
    return Expansion(directions, base, table).to(shop.device, shop.beta.dtype)


def margin_for(first: Tensor, checked: int) -> float:
    """Return the margin at which `checked` of the pictures have more than one contender in logits
    (B, C).
    """
    if not checked:
        return 0.0
    top = first.float().topk(2, dim=1).values
    gaps = (top[:, 0] - top[:, 1]).sort().values
    return float(gaps[checked - 1]) * (1 + 1e-5)


def slim(shop: Workshop, variant: str) -> None:
    """Drop what a deployed model of a variant would not hold: token embeddings, a text encoder that
    is not needed.
    """
    beta = shop.beta
    beta.token_weight = beta.token_weight[:1].clone()
    if variant.partition(":")[0] not in ("host", "static", "tangent"):
        return
    beta.model.text_encoder = None
    if shop.deployed is not None:
        shop.deployed.paths = {}
        shop.deployed.inference = replace(shop.deployed.inference, path=None)
