"""Meta-nets: the batched product equals a loop over nets; counts are the published ones."""

from __future__ import annotations

import pytest
import torch

from loreal_plugin.errors import ConfigError
from loreal_plugin.method.meta_nets import MetaNets, init_meta_nets_


@pytest.mark.parametrize("bias", [True, False])
def test_contents_and_gradients_equal_a_loop_over_nets(bias: bool):
    nets = MetaNets(3, 10, 4, 6, bias=bias).double()
    f = torch.randn(5, 10, dtype=torch.float64, requires_grad=True)
    got = nets(f)
    want = torch.stack([net(f) for net in nets.meta_nets], dim=1)
    torch.testing.assert_close(got, want)
    weights = torch.randn_like(got)
    inputs = [f, *nets.parameters()]
    gradients = (
        torch.autograd.grad((t * weights).sum(), inputs, retain_graph=True) for t in (got, want)
    )
    torch.testing.assert_close(*gradients)


def test_contents_follow_the_published_formula():
    nets = MetaNets(2, 5, 3, 4)
    f = torch.randn(1, 5)
    for k, net in enumerate(nets.meta_nets):
        hidden = (net.down.weight @ f[0] + net.down.bias).clamp(min=0)
        torch.testing.assert_close(nets.hidden(f)[0, k], hidden)
        torch.testing.assert_close(nets(f)[0, k], net.up.weight @ hidden + net.up.bias)
    torch.testing.assert_close(nets.from_hidden(nets.hidden(f)), nets(f))


@pytest.mark.parametrize(
    ("k", "bias", "count"), [(5, True, 166_560), (3, True, 99_936), (5, False, 163_840)]
)
def test_parameter_count_at_clip_size(k: int, bias: bool, count: int):
    assert MetaNets(k, 512, 32, 512, bias=bias).count_parameters() == count


def test_parameters_are_named_after_their_net():
    names = [name for name, _ in MetaNets(2, 4, 2, 4).named_parameters()]
    assert names[:2] == ["meta_nets.0.down.weight", "meta_nets.0.down.bias"]
    assert names[-1] == "meta_nets.1.up.bias"


def test_half_precision_embeddings_are_accepted():
    nets = MetaNets(2, 4, 2, 4)
    f = torch.randn(3, 4).half()
    torch.testing.assert_close(nets(f), nets(f.float()))


def test_default_start_changes_nothing():
    nets = MetaNets(2, 4, 2, 4)
    before = [p.clone() for p in nets.parameters()]
    init_meta_nets_(nets, "default")
    assert all(torch.equal(a, b) for a, b in zip(before, nets.parameters(), strict=True))


def test_words_start_sets_each_output_bias_to_its_own_words():
    nets, words = MetaNets(2, 4, 2, 6), torch.randn(2, 6)
    weight = nets.meta_nets[0].up.weight.clone()
    init_meta_nets_(nets, "words", word_embeddings=words)
    assert all(
        torch.equal(net.up.bias, word) for net, word in zip(nets.meta_nets, words, strict=True)
    )
    assert torch.equal(nets.meta_nets[0].up.weight, weight)


def test_neutral_start_gives_every_image_the_same_content():
    nets, neutral = MetaNets(2, 4, 2, 6), torch.randn(6)
    init_meta_nets_(nets, "neutral", neutral=neutral)
    assert torch.equal(nets(torch.randn(3, 4)), neutral.expand(3, 2, 6))


@pytest.mark.parametrize(
    ("mode", "options", "message"),
    [
        ("word", {}, "unknown META_INIT 'word'; did you mean 'words'"),
        ("words", {}, "needs starting vectors"),
        ("neutral", {"word_embeddings": torch.zeros(2, 6)}, "needs starting vectors"),
        ("words", {"word_embeddings": torch.zeros(3, 6)}, r"shape \(2, 6\), got \(3, 6\)"),
    ],
)
def test_wrong_starts_are_refused(mode: str, options: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        init_meta_nets_(MetaNets(2, 4, 2, 6), mode, **options)


def test_start_without_output_bias_is_refused():
    with pytest.raises(ConfigError, match="META_BIAS"):
        init_meta_nets_(
            MetaNets(2, 4, 2, 6, bias=False), "words", word_embeddings=torch.zeros(2, 6)
        )


def test_empty_sizes_are_refused():
    with pytest.raises(ConfigError, match="attributes 0"):
        MetaNets(0, 4, 2, 6)
