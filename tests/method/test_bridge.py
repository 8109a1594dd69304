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
    training_progress,
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


def authors_weight(epoch: int, epochs: int, start: float, maximum: float) -> float:
    """Return the authors' rule as it reads: epochs count from 0, nothing changes within one."""
    done = (epoch + 1) / epochs
    if start <= 0:
        return maximum
    return 0.0 if done <= start else maximum * (done - start) / (1 - start)


@pytest.mark.parametrize("start", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("maximum", [1.0, 0.6])
def test_weight_of_every_epoch_is_that_of_the_authors(start: float, maximum: float):
    for epochs in (1, 7, 50):
        for epoch in range(epochs):
            found = {
                mix_weight(
                    training_progress("epoch", epoch=epoch, epochs=epochs, batch=b, batches=5),
                    start,
                    maximum,
                )
                for b in range(5)
            }
            assert found == {authors_weight(epoch, epochs, start, maximum)}


def test_progress_by_step_goes_from_0_to_1():
    place = {"epochs": 3, "batches": 4}
    found = [
        training_progress("step", epoch=e, batch=b, **place) for e in range(3) for b in range(4)
    ]
    assert found[0] == 0 and found[-1] == 1
    assert all(b - a == pytest.approx(1 / 11) for a, b in zip(found, found[1:], strict=False))
    assert training_progress("step", epoch=0, epochs=1, batch=0, batches=1) == 0


def test_a_mix_of_embeddings_that_are_no_unit_vectors_keeps_their_length():
    short, long = 0.5 * A, 2 * B
    for w in (0.0, 0.25, 1.0):
        _, got = condition_inputs(short, long, bridge="mix", mix_weight=w, unit=False)
        blend = (1 - w) * short + w * long
        want = blend / blend.norm(dim=-1, keepdim=True) * ((1 - w) * 0.5 + w * 2)
        torch.testing.assert_close(got, want)
    torch.testing.assert_close(got, long)


def test_wrong_options_are_refused():
    with pytest.raises(ConfigError, match="unknown MIX_STEPS 'epochs'; did you mean 'epoch'"):
        training_progress("epochs", epoch=0, epochs=1, batch=0, batches=1)
    with pytest.raises(ConfigError, match="unknown BRIDGE"):
        condition_inputs(A, B, bridge="both")
    with pytest.raises(ConfigError, match="unknown MIX_ALPHA"):
        condition_inputs(A, B, bridge="mix", mix_alpha="beta")
    with pytest.raises(ConfigError, match="MIX_START must lie between 0 and 1, got 2"):
        mix_weight(0.1, 2, 1)
