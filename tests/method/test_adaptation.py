"""Losses and low-rank updates of the adaptation against slow references."""

import pytest
import torch
from torch import nn

from loreal_plugin.errors import ConfigError
from loreal_plugin.method import adaptation


def _attention():
    torch.manual_seed(0)
    return nn.MultiheadAttention(8, 2)


def _updated(rank=2):
    layer = _attention()
    places = [(layer, "in_proj_weight"), (layer.out_proj, "weight")]
    for module, name in places:
        adaptation.add_update(module, name, rank, torch.Generator().manual_seed(1))
    return layer, places


def _move(places):
    for module, name in places:
        nn.init.normal_(module.parametrizations[name][0].up)


def test_start_is_the_frozen_layer_bit_for_bit():
    x = torch.randn(5, 3, 8)
    assert torch.equal(_updated()[0](x, x, x)[0], _attention()(x, x, x)[0])


def test_merged_equals_unmerged_and_leaves_the_shared_weight():
    layer, places = _updated()
    _move(places)
    shared = layer.parametrizations["in_proj_weight"].original
    before, x = shared.clone(), torch.randn(5, 3, 8)
    unmerged = layer(x, x, x)[0]
    adaptation.merge_updates(places)
    assert not any("parametrizations" in name for name, _ in layer.named_parameters())
    assert torch.allclose(layer(x, x, x)[0], unmerged, atol=1e-5)
    assert torch.equal(shared, before) and not torch.equal(layer.in_proj_weight, before)


def test_only_factors_get_gradients_on_updated_weights():
    layer, places = _updated()
    _move(places)
    x = torch.randn(5, 3, 8)
    layer(x, x, x)[0].square().sum().backward()
    for module, name in places:
        update = module.parametrizations[name]
        assert update.original.grad is None
        assert update[0].up.grad.abs().sum() > 0 and update[0].down.grad.abs().sum() > 0


@pytest.mark.parametrize("rank", [0, 9])
def test_rank_out_of_range_is_refused(rank):
    with pytest.raises(ConfigError, match="choose 1 to 8"):
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
    logits, target = torch.randn(4, 3), torch.randn(4, 3)
    p, q = target.softmax(-1), logits.softmax(-1)
    want = (p * (p / q).log()).sum(-1).mean()
    assert torch.allclose(adaptation.logit_loss(logits, target), want)


def test_gradients_against_finite_differences():
    weight = torch.randn(3, 4, dtype=torch.float64)
    update = adaptation.LowRankUpdate(weight, 2, torch.Generator().manual_seed(1)).double()
    nn.init.normal_(update.up)

    def output(up, down):
        return torch.func.functional_call(update, {"up": up, "down": down}, (weight,))

    assert torch.autograd.gradcheck(output, (update.up, update.down))
