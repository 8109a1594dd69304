"""The slow code of benchmarks/ and ours: the same loss, gradients and logits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_hosts import METHODS

from loreal_plugin.bench.cells import orders_of
from loreal_plugin.bench.models import published_module
from loreal_plugin.bench.predictions import build_prediction
from loreal_plugin.bench.variant_calls import plugin_loss, published_logits, published_loss

CASES = [(method, order) for method in METHODS for order in orders_of(method)]


def loss_and_gradients(loss, nets) -> tuple[float, torch.Tensor]:
    nets.zero_grad()
    value = loss()
    value.backward()
    return value.item(), torch.cat([p.grad.flatten() for p in nets.parameters()])


@pytest.mark.parametrize(("method", "order"), CASES)
def test_training_step_has_the_same_loss_and_gradients(cell_models, method: str, order: str):
    made = cell_models("versus-train", method)
    slow, slow_grad = loss_and_gradients(published_loss(made, order), made.nets)
    for cached in (True, False):
        fast, fast_grad = loss_and_gradients(plugin_loss(made, order, cached=cached), made.nets)
        assert abs(slow - fast) < 1e-4
        assert (slow_grad - fast_grad).norm() < 1e-3 * slow_grad.norm()
    assert slow_grad.norm() > 1e-6


@pytest.mark.parametrize(("method", "order"), CASES)
def test_predictions_are_equal_and_depend_on_the_picture(cell_models, method: str, order: str):
    made = cell_models("versus-infer", method)
    slow, fast = published_logits(made, order), build_prediction(made, "exact", order)
    pictures = made.pictures["beta"]
    assert (slow(pictures) - fast(pictures)).abs().max() < 1e-4
    assert (slow(pictures) - slow(pictures.flip(0))).abs().max() > 1e-2


@pytest.mark.parametrize("bridge", ["self", "cross"])
@pytest.mark.parametrize("direction", ["alpha_to_beta", "mutual"])
def test_all_its_options_agree(
    cell_models, monkeypatch: pytest.MonkeyPatch, bridge: str, direction: str
):
    made = cell_models("versus-train", "coop")
    plain = made.options
    monkeypatch.setattr(
        made, "options", lambda *args: replace(plain(*args), bridge=bridge, hld_direction=direction)
    )
    slow, slow_grad = loss_and_gradients(published_loss(made, "class_first"), made.nets)
    fast, fast_grad = loss_and_gradients(plugin_loss(made, "class_first", cached=True), made.nets)
    assert abs(slow - fast) < 1e-4 and (slow_grad - fast_grad).norm() < 1e-3 * slow_grad.norm()


def test_it_refuses_what_it_does_not_know(cell_models):
    made = cell_models("versus-train", "coop")
    options = replace(made.options("class_first"), bridge="mix")
    with pytest.raises(ValueError, match="bridge mix"):
        published_module().PublishedFormulation({}, made.nets, made.words, options, fusion=False)
