"""Losses and their gradients against loops written from the formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from loreal_plugin.errors import ConfigError
from loreal_plugin.method.losses import (
    HLD_DIRECTIONS,
    alpha_learns,
    high_level_distillation,
    loreal_loss,
    low_level_distillation,
)
from loreal_plugin.options import LorealOptions, resolve_options


def options(**given: object) -> LorealOptions:
    return resolve_options(given)


def naive_kl(p_logits: Tensor, q_logits: Tensor, t: float) -> Tensor:
    total = torch.zeros(())
    for p_row, q_row in zip(p_logits, q_logits, strict=True):
        p, q = (torch.exp(r / t) / torch.exp(r / t).sum() for r in (p_row, q_row))
        total = total + sum(a * (a.log() - b.log()) for a, b in zip(p, q, strict=True))
    return total / len(p_logits)


def naive_hld(alpha: Tensor, beta: Tensor, t: float, direction: str, tau_squared: bool) -> Tensor:
    if direction == "alpha_to_beta":
        loss = naive_kl(alpha.detach(), beta, t)
    else:
        loss = naive_kl(alpha, beta, t)
    if direction == "symmetric":
        loss = loss + naive_kl(beta, alpha, t)
    return loss * t * t if tau_squared else loss


def naive_lld(alpha: Tensor, beta: Tensor, t: float) -> Tensor:
    total = torch.zeros(())
    for a, b in zip(alpha, beta, strict=True):
        for k in range(len(a)):
            exps = [
                torch.exp((a[k] @ b[j]) / (a[k].norm() * b[j].norm()) / t) for j in range(len(b))
            ]
            total = total - torch.log(exps[k] / sum(exps))
    return total / len(alpha)


def gradients(loss: Tensor, *inputs: Tensor) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, inputs, allow_unused=True))


@pytest.mark.parametrize("tau_squared", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("direction", HLD_DIRECTIONS)
def test_high_level_distillation_equals_its_formula(
    direction: str, temperature: float, tau_squared: bool
):
    alpha, beta = (3 * torch.randn(4, 5)).requires_grad_(), (3 * torch.randn(4, 5)).requires_grad_()
    options = (temperature, direction, tau_squared)
    got, want = (loss(alpha, beta, *options) for loss in (high_level_distillation, naive_hld))
    torch.testing.assert_close(got, want)
    pair = (gradients(loss, alpha, beta) for loss in (got, want))
    torch.testing.assert_close(*pair, atol=1e-5, rtol=1e-4)


def test_only_alpha_to_beta_leaves_alpha_alone():
    alpha, beta = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    reached = {
        d: gradients(high_level_distillation(alpha, beta, 4, d), alpha, beta)
        for d in HLD_DIRECTIONS
    }
    assert reached["alpha_to_beta"][0] is None
    assert reached["mutual"][0].abs().max() > 0
    assert reached["symmetric"][0].abs().max() > 0


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_low_level_distillation_equals_its_formula(temperature: float):
    alpha, beta = torch.randn(3, 4, 6, requires_grad=True), torch.randn(3, 4, 6, requires_grad=True)
    got, want = (loss(alpha, beta, temperature) for loss in (low_level_distillation, naive_lld))
    torch.testing.assert_close(got, want)
    pair = (gradients(loss, alpha, beta) for loss in (got, want))
    torch.testing.assert_close(*pair, atol=1e-5, rtol=1e-4)


def test_low_level_distillation_of_equal_contents_is_k_log_k():
    same = torch.ones(2, 5, 3)
    assert low_level_distillation(same, same, 4).item() == pytest.approx(5 * math.log(5), rel=1e-5)


def test_losses_of_half_precision_inputs_are_float32():
    logits, contents = (100 * torch.randn(2, 3)).half(), torch.randn(2, 4, 6).half()
    assert high_level_distillation(logits, logits + 1, 4).dtype == torch.float32
    assert low_level_distillation(contents, contents, 4).dtype == torch.float32


def test_loss_weights_its_parts():
    alpha, beta, labels = torch.randn(4, 5), torch.randn(4, 5), torch.tensor([0, 1, 2, 3])
    s_alpha, s_beta = torch.randn(4, 3, 6), torch.randn(4, 3, 6)
    cross = (torch.randn(4, 5), torch.randn(4, 5))
    parts = loreal_loss(
        alpha,
        beta,
        labels,
        s_alpha,
        s_beta,
        options(hld_weight=0.7, lld_temperature=3.0, hld_direction="mutual", cross_weight=0.5),
        cross_logits=cross,
    )
    ce = -torch.stack([beta[i].log_softmax(0)[labels[i]] for i in range(4)]).mean()
    hld, lld = naive_hld(alpha, beta, 4, "mutual", False), naive_lld(s_alpha, s_beta, 3)
    kl = naive_hld(*cross, 4, "mutual", False)
    torch.testing.assert_close(parts["loss"], ce + 0.7 * hld + 2.0 / 3 * lld + 0.5 * kl)
    assert sorted(parts) == ["ce", "cross", "hld", "lld", "loss"]


def test_cross_weight_without_cross_logits_is_refused():
    logits, contents = torch.randn(2, 3), torch.randn(2, 2, 4)
    with pytest.raises(ConfigError, match="CROSS_WEIGHT"):
        loreal_loss(
            logits, logits, torch.tensor([0, 1]), contents, contents, options(cross_weight=0.1)
        )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"hld_direction": "alpha_to_beta"}, False),
        ({"hld_direction": "mutual"}, True),
        ({"hld_direction": "symmetric", "hld_weight": 0.0}, False),
        ({"hld_direction": "symmetric", "hld_weight": 0.0, "cross_weight": 0.5}, True),
    ],
)
def test_alpha_learns_where_a_loss_reaches_it(given: dict, expected: bool):
    assert alpha_learns(options(**given)) is expected


def test_wrong_options_are_refused():
    x = torch.randn(2, 3)
    with pytest.raises(ConfigError, match="did you mean 'symmetric'"):
        high_level_distillation(x, x, 4, "symetric")
    with pytest.raises(ConfigError, match="HLD_TEMPERATURE must be positive, got 0"):
        high_level_distillation(x, x, 0)
    with pytest.raises(ConfigError, match="LLD_TEMPERATURE"):
        low_level_distillation(torch.randn(1, 2, 3), torch.randn(1, 2, 3), -1)
