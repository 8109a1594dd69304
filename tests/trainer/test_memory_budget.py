"""MEMORY_BUDGET_MB: smaller text passes, the same step."""

from __future__ import annotations

import pytest
import torch
from first_step import first_step

from loreal_plugin.method.losses import text_passes
from loreal_plugin.options import resolve_options

L = "TRAINER.LOREAL."


@pytest.mark.parametrize("order", ["class_first", "slots_first"])
def test_a_small_budget_takes_smaller_passes_and_gives_the_same_step(family, tmp_path, order):
    options = (f"{L}SLOT_ORDER", order, f"{L}HLD_DIRECTION", "symmetric", f"{L}CROSS_WEIGHT", 0.5)
    whole, small = (
        family.build("coop", tmp_path, *options, f"{L}MEMORY_BUDGET_MB", mb) for mb in (0, 1)
    )
    seen: list[int] = []
    for path in (small.model.alpha.text_path, small.model.beta.text_path):
        run = path._run_classes
        path._run_classes = lambda classes, *rest, run=run, **kept: (
            seen.append(len(classes)) or run(classes, *rest, **kept)
        )
    (losses, gradient), (wanted, wanted_gradient) = first_step(small), first_step(whole)
    assert set(seen) == {1}, "a quarter of a mebibyte holds one class of the toy CLIP"
    assert torch.allclose(losses, wanted, atol=1e-4)
    assert (gradient - wanted_gradient).norm() < 1e-4 * wanted_gradient.norm()


@pytest.mark.parametrize(
    ("given", "passes"),
    [
        ({}, 1),
        ({"HLD_DIRECTION": "symmetric"}, 2),
        ({"HLD_DIRECTION": "mutual", "HLD_WEIGHT": 0.0}, 1),
        ({"HLD_DIRECTION": "mutual", "CROSS_WEIGHT": 1.0}, 4),
        ({"CROSS_WEIGHT": 1.0}, 2),
    ],
)
def test_passes_that_hold_activations_at_once_share_the_budget(given, passes):
    assert text_passes(resolve_options(given)) == passes
