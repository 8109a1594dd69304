"""Merged tokens against a slow loop, and an encoder that merges nothing against the plain one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers import random_clip_state_dict
from torch import Tensor

from loreal_plugin.students.token_merging import MergedTower, merge
from loreal_plugin.weights import import_clip


def slow_merge(x: Tensor, keys: Tensor, sizes: Tensor, fewer: int) -> list[tuple[Tensor, float]]:
    """Return the tokens of one picture with their sizes, merged pair by pair."""
    alike = F.normalize(keys, dim=-1)
    first, second = list(range(1, len(x), 2)), list(range(2, len(x), 2))
    pairs = [max((float(alike[a] @ alike[b]), -b, a) for b in second) for a in first]
    gone = {a: -b for _, b, a in sorted(pairs, key=lambda pair: (-pair[0], pair[2]))[:fewer]}
    found = [(x[0], float(sizes[0]))] + [(x[a], float(sizes[a])) for a in first if a not in gone]
    for b in second:
        members = [b] + [a for a, into in gone.items() if into == b]
        size = sum(float(sizes[m]) for m in members)
        found.append((sum(x[m] * sizes[m] for m in members) / size, size))
    return found


@pytest.mark.parametrize("tokens", [9, 10])
def test_the_closest_pairs_become_their_weighted_mean(tokens: int) -> None:
    draw = torch.Generator().manual_seed(3)
    x, keys = (torch.randn(2, tokens, size, generator=draw) for size in (6, 4))
    sizes = torch.randint(1, 4, (2, tokens), generator=draw).float()
    for fewer in (1, 3, (tokens - 1) // 2):
        merged, whole = merge(x, keys, sizes, fewer)
        assert merged.shape == (2, tokens - fewer, 6)
        for picture in range(2):
            slow = slow_merge(x[picture], keys[picture], sizes[picture], fewer)
            torch.testing.assert_close(merged[picture], torch.stack([one for one, _ in slow]))
            assert whole[picture].tolist() == [size for _, size in slow]


@pytest.fixture(scope="module")
def tower() -> torch.nn.Module:
    import_clip()
    from clip.model import build_model

    return build_model(random_clip_state_dict(resolution=64)).float().eval().visual


def test_nothing_merged_is_the_plain_encoder_which_comes_back_whole(tower: torch.nn.Module) -> None:
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    blocks = tower.transformer.resblocks
    with torch.no_grad():
        plain = tower(images)
        same = MergedTower(tower, blocks, keep=17)(images)
        torch.testing.assert_close(same, plain, atol=1e-5, rtol=1e-4)
        fewer = MergedTower(tower, blocks, keep=5)
        merged = fewer(images)
        assert fewer.sizes.shape == (3, 5) and (fewer.sizes.sum(1) == 17).all()
        assert not torch.allclose(merged, plain, atol=1e-3)
        assert torch.equal(tower(images), plain), "the blocks have their own forward again"
        alone = torch.cat([fewer(one[None]) for one in images])
    torch.testing.assert_close(alone, merged, atol=1e-5, rtol=1e-4)
