"""The bridge: who fills whose prompt, for every choice."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from loreal_plugin.errors import ConfigError
from loreal_plugin.method.bridge import (
    BRIDGES,
    condition_inputs,
    mix_weight,
)

A = F.normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
B = F.normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(1)), dim=-1)
FILLS = {"cross": (B, A), "self": (A, B), "alpha_to_beta": (A, A), "beta_to_alpha": (B, B)}


@pytest.mark.parametrize("bridge", FILLS)
def test_bridge_hands_over_the_right_embeddings(bridge: str):
    for_alpha, for_beta = condition_inputs(A, B, bridge=bridge)
    assert torch.equal(for_alpha, FILLS[bridge][0])
    assert torch.equal(for_beta, FILLS[bridge][1])


@pytest.mark.parametrize(("mix_alpha", "for_alpha"), [("own", A), ("cross", B)])
@pytest.mark.parametrize("w", [0.0, 0.25, 1.0])
def test_mix_fills_beta_with_a_normalised_blend(w: float, mix_alpha: str, for_alpha: torch.Tensor):
    got_alpha, got_beta = condition_inputs(A, B, bridge="mix", mix_weight=w, mix_alpha=mix_alpha)
    blend = (1 - w) * A + w * B
    torch.testing.assert_close(got_beta, blend / blend.norm(dim=-1, keepdim=True))
    assert torch.equal(got_alpha, for_alpha)


def test_every_bridge_is_tested_here():
    assert set(FILLS) | {"mix"} == set(BRIDGES)


@pytest.mark.parametrize(
    ("progress", "start", "maximum", "w"),
    [(0, 0.5, 1, 0)]
    + [(0.5, 0.5, 1, 0), (0.75, 0.5, 1, 0.5), (1, 0.5, 0.6, 0.6), (0.3, 0.1, 1, 2 / 9)]
    + [(1, 1, 1, 0)],
)
def test_mix_weight_is_zero_then_a_ramp(progress: float, start: float, maximum: float, w: float):
    assert mix_weight(progress, start, maximum) == pytest.approx(w)


@pytest.mark.parametrize("progress", [0, 0.3, 1])
def test_without_a_start_the_weight_is_the_highest_from_the_first_step(progress: float):
    assert mix_weight(progress, 0, 0.7) == 0.7


def test_a_mix_of_embeddings_that_are_no_unit_vectors_keeps_their_length():
    short, long = 0.5 * A, 2 * B
    for w in (0.0, 0.25, 1.0):
        _, got = condition_inputs(short, long, bridge="mix", mix_weight=w, unit=False)
        blend = (1 - w) * short + w * long
        want = blend / blend.norm(dim=-1, keepdim=True) * ((1 - w) * 0.5 + w * 2)
        torch.testing.assert_close(got, want)
    torch.testing.assert_close(got, long)


def test_wrong_options_are_refused():
    with pytest.raises(ConfigError, match="unknown BRIDGE"):
        condition_inputs(A, B, bridge="both")
    with pytest.raises(ConfigError, match="unknown MIX_ALPHA"):
        condition_inputs(A, B, bridge="mix", mix_alpha="beta")
    with pytest.raises(ConfigError, match="MIX_START must lie between 0 and 1, got 2"):
        mix_weight(0.1, 2, 1)
