"""Losses and low-rank updates of the adaptation against slow references."""

import pytest
import torch
from torch import nn

from loreal_plugin.errors import CheckpointError, ConfigError
from loreal_plugin.method import adaptation

LOW_RANK = ("in_proj_weight", "out_proj.weight")


def _attention():
    torch.manual_seed(0)
    return nn.MultiheadAttention(8, 2)


def _updated(rank=2):
    layer = _attention()
    generator = torch.Generator().manual_seed(1)
    return layer, adaptation.Adaptation(layer, ["in_proj_bias"], LOW_RANK, rank, generator)


def _move(adapted):
    for name, value in adapted.state().items():
        if not name.endswith("down"):
            nn.init.normal_(value)


def test_start_is_the_frozen_layer_bit_for_bit():
    x = torch.randn(5, 3, 8)
    assert torch.equal(_updated()[0](x, x, x)[0], _attention()(x, x, x)[0])


def test_merged_equals_unmerged_and_leaves_the_shared_weight():
    layer, adapted = _updated()
    _move(adapted)
    shared = layer.parametrizations["in_proj_weight"].original
    before, x = shared.clone(), torch.randn(5, 3, 8)
    unmerged = layer(x, x, x)[0]
    adapted.merge()
    assert not any("parametrizations" in name for name, _ in layer.named_parameters())
    assert torch.allclose(layer(x, x, x)[0], unmerged, atol=1e-5)
    assert torch.equal(shared, before) and not torch.equal(layer.in_proj_weight, before)


def test_only_updates_get_gradients():
    layer, adapted = _updated()
    _move(adapted)
    layer.requires_grad_(False)
    for value in adapted.parameters():
        value.requires_grad_(True)
    x = torch.randn(5, 3, 8)
    layer(x, x, x)[0].square().sum().backward()
    got = {id(value) for value in layer.parameters() if value.grad is not None}
    assert got == {id(value) for value in adapted.parameters()}
    assert all(value.grad.abs().sum() > 0 for value in adapted.parameters())


def test_state_goes_back_and_misfits_are_refused():
    layer, adapted = _updated()
    _move(adapted)
    other, fresh = _updated()
    fresh.load(adapted.state())
    x = torch.randn(5, 3, 8)
    assert torch.equal(other(x, x, x)[0], layer(x, x, x)[0])
    with pytest.raises(CheckpointError, match="does not fit"):
        _updated(rank=3)[1].load(adapted.state())


@pytest.mark.parametrize("rank", [0, 9])
def test_rank_out_of_range_is_refused(rank):
    with pytest.raises(ConfigError, match="allows 1 to 8"):
        _updated(rank)


def test_pooled_tokens_against_a_slow_reference():
    tokens = torch.randn(2, 49, 3)
    got = adaptation.pooled_tokens(tokens, (7, 7), (3, 3)).reshape(2, 3, 3, 3)
    grid = tokens.reshape(2, 7, 7, 3)
    for i, (top, bottom) in enumerate([(0, 3), (2, 5), (4, 7)]):
        for j, (left, right) in enumerate([(0, 3), (2, 5), (4, 7)]):
            want = grid[:, top:bottom, left:right].mean((1, 2))
            assert torch.allclose(got[:, i, j], want, atol=1e-6)
    with pytest.raises(ConfigError, match="6 x 7"):
        adaptation.pooled_tokens(tokens, (6, 7), (3, 3))


def test_losses_by_hand():
    same, across = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    assert adaptation.embedding_loss(same, 3 * same).item() == pytest.approx(0, abs=1e-5)
    assert adaptation.embedding_loss(same, across).item() == pytest.approx(10)
    deviation = torch.tensor([1.0, 2.0])
    assert adaptation.token_loss(same, across, deviation).item() == pytest.approx(1)


def test_gradients_against_finite_differences():
    weight = torch.randn(3, 4, dtype=torch.float64)
    update = adaptation.LowRankUpdate(weight, 2, torch.Generator().manual_seed(1)).double()
    nn.init.normal_(update.up)

    def output(up, down):
        return torch.func.functional_call(update, {"up": up, "down": down}, (weight,))

    assert torch.autograd.gradcheck(output, (update.up, update.down))
