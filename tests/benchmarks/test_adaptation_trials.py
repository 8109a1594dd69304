"""Other ways to train the adapted image side: what their formulas compute."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.adaptation_trials import (
    Way,
    append_tokens,
    attended_patches,
    attention_divergence,
    averaged_kernel,
    class_divergence,
    parts,
    read_way,
)


def test_the_divergence_is_that_of_the_formula() -> None:
    drawn = torch.Generator().manual_seed(0)
    beta, alpha, text = (
        F.normalize(torch.randn(shape, generator=drawn).double(), dim=-1)
        for shape in ((3, 1, 8), (3, 1, 8), (5, 8))
    )
    p = (100 * alpha[:, 0] @ text.t()).softmax(1)
    q = (100 * beta[:, 0] @ text.t()).softmax(1)
    plain = (p * (p.log() - q.log())).sum(1).mean()
    assert class_divergence(beta, alpha, text).item() == pytest.approx(plain.item(), rel=1e-4)
    assert class_divergence(alpha, alpha, text).item() == pytest.approx(0, abs=1e-6)


def test_a_kernel_for_the_native_size_is_the_kernel() -> None:
    kernel = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(averaged_kernel(kernel, 32, 32), kernel, atol=1e-5)


def test_a_kernel_for_a_smaller_size_does_what_the_enlarged_picture_gives() -> None:
    drawn = torch.Generator().manual_seed(1)
    kernel = torch.randn(4, 3, 8, 8, generator=drawn)
    picture = torch.zeros(1, 3, 24, 24)
    picture[:, :, 8:16, 8:16] = torch.randn(3, 8, 8, generator=drawn)  # the patch in the middle
    large = F.interpolate(picture, (48, 48), mode="bicubic", align_corners=False)
    wanted = F.conv2d(large, kernel, stride=8)[:, :, 2:4, 2:4].mean((2, 3))
    found = F.conv2d(picture, averaged_kernel(kernel, 24, 48), stride=8)[:, :, 1, 1]
    assert torch.allclose(found, wanted, atol=1e-4)


def test_learned_tokens_stand_behind_the_rows_and_learn() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image_encoder = nn.Module()
            self.image_encoder.transformer = nn.Identity()

    model = Encoder()
    rows = append_tokens(model, 2, 4, seed=1)
    read = torch.randn(5, 3, 4)
    found = model.image_encoder.transformer(read)
    assert torch.equal(found[:5], read) and torch.equal(found[5:], rows[:, None].expand(2, 3, 4))
    found.sum().backward()
    assert rows.grad is not None and rows.grad.eq(3).all()  # three pictures read each


def test_shares_of_patches_are_those_of_the_attention_itself() -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2)
    with torch.no_grad():
        attention.in_proj_bias.normal_()
    rows = torch.randn(1 + 4, 3, 8)  # the class token and four patches
    _, weights = attention(rows, rows, rows)  # (B, T, T), means over heads, over all rows
    found = attended_patches(attention, rows, 4)
    assert torch.allclose(found.sum(1), torch.ones(3))
    one_head = nn.MultiheadAttention(8, 1)
    _, whole = one_head(rows, rows, rows)
    of_patches = whole[:, 0, 1:] / whole[:, 0, 1:].sum(1, keepdim=True)
    assert torch.allclose(attended_patches(one_head, rows, 4), of_patches, atol=1e-6)
    assert found.shape == weights[:, 0, 1:].shape
    assert attention_divergence(found, 3 * found).item() == pytest.approx(0, abs=1e-6)
    plain = (of_patches * (of_patches.log() - found.log())).sum(1).mean()
    assert attention_divergence(found, of_patches).item() == pytest.approx(plain.item(), rel=1e-5)


def test_words_become_settings_and_ways() -> None:
    settings, way = read_way("kl=.5,layer=2,views=8", seed=3)
    assert (settings.kind, settings.views, settings.seed) == ("patch", 8, 3)
    assert way == Way(kl=0.5, layer=2)
    two = parts(*read_way("first=1", 1))
    assert [(part.kind, part.epochs) for part in two] == [("positions", 1), ("patch", 2)]
    assert parts(*read_way("average=.9", 1)) == [read_way("", 1)[0]]
