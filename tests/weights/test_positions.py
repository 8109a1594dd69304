"""The positional embedding keeps its class row and its own size, and follows torch elsewhere."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from loreal_plugin.errors import ConfigError, HostError
from loreal_plugin.option_keys import LorealOptions
from loreal_plugin.weights.positions import (
    RESAMPLINGS,
    grid_size_of,
    keep_own_pos_embed,
    resample_pos_embed,
    resample_visual_,
)


class TinyVisual(nn.Module):
    """What the functions look at in a CLIP ViT."""

    def __init__(self, grid: int = 4, width: int = 8, patch: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.positional_embedding = nn.Parameter(torch.randn(grid * grid + 1, width))
        self.input_resolution = grid * patch


def test_same_object_at_native_size():
    pos_embed = torch.randn(17, 8)
    assert resample_pos_embed(pos_embed, 4, "bicubic") is pos_embed


def cubic(x: float, a: float) -> float:
    """Return the kernel of cubic convolution (Keys 1981) at `x`."""
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def weights_of(old: int, new: int, resampling: str) -> Tensor:
    """Return what each new position of a line reads of the old ones (new, old), from the formulas.

    Without antialias the kernel has the width of an old position and what lies outside is the
    border's; with it the kernel is as wide as a new position, and what lies outside does not count.
    """
    found = torch.zeros(new, old, dtype=torch.float64)
    scale = old / new
    smooth = resampling != "bicubic"
    width = max(scale, 1.0) if smooth else 1.0
    for i in range(new):
        centre = (i + 0.5) * scale - 0.5
        for j in range(math.floor(centre - 2 * width), math.ceil(centre + 2 * width) + 1):
            x = (j - centre) / width
            weight = cubic(x, -0.5 if smooth else -0.75)
            if smooth and 0 <= j < old:
                found[i, j] += weight
            elif not smooth:
                found[i, min(max(j, 0), old - 1)] += weight
    return found / found.sum(1, keepdim=True)


@pytest.mark.parametrize("resampling", RESAMPLINGS)
@pytest.mark.parametrize("grid_size", [2, 6, 9, 14])
def test_grid_follows_the_formula_and_class_row_is_kept(grid_size, resampling):
    pos_embed = torch.randn(8 * 8 + 1, 5)
    got = resample_pos_embed(pos_embed, grid_size, resampling)
    line = weights_of(8, grid_size, resampling)
    grid = pos_embed[1:].reshape(8, 8, 5).double()
    want = torch.einsum("ia,jb,abd->ijd", line, line, grid).reshape(-1, 5)
    assert torch.equal(got[0], pos_embed[0])
    torch.testing.assert_close(got[1:].double(), want, rtol=1e-5, atol=1e-5)


def test_options_and_formulas_know_the_same_names():
    known = LorealOptions.__dataclass_fields__["position_resampling"].metadata["choices"]
    assert known == tuple(RESAMPLINGS)


def test_an_unknown_resampling_is_named():
    with pytest.raises(ConfigError, match="did you mean 'bicubic'"):
        resample_pos_embed(torch.randn(17, 8), 2, "bicubics")


def test_half_precision_is_interpolated_in_float32():
    pos_embed = torch.randn(17, 8).half()
    got = resample_pos_embed(pos_embed, 6, "bicubic_antialias")
    assert got.dtype == torch.float16
    assert torch.equal(got, resample_pos_embed(pos_embed.float(), 6, "bicubic_antialias").half())


def test_several_prefix_rows_are_kept():
    pos_embed = torch.randn(18, 8)
    assert torch.equal(
        resample_pos_embed(pos_embed, 3, "bicubic", num_prefix_tokens=2)[:2], pos_embed[:2]
    )


def test_rows_that_are_no_grid_are_refused():
    with pytest.raises(HostError, match="no square patch grid"):
        resample_pos_embed(torch.randn(16, 8), 3, "bicubic")


@pytest.mark.parametrize("size", [0, 16, 33, 100])
def test_sizes_that_do_not_fit_the_patch_are_refused(size):
    with pytest.raises(ConfigError, match="multiple of the patch size 16"):
        grid_size_of(size, 16)


def test_visual_reads_the_new_size_and_keeps_its_parameter_at_the_old_one():
    visual = TinyVisual()
    before = visual.positional_embedding
    assert resample_visual_(visual, 64, "bicubic").positional_embedding is before
    resample_visual_(visual, 96, "bicubic")
    assert visual.positional_embedding.shape == (37, 8)
    assert visual.input_resolution == 96


def test_backbones_without_a_patch_grid_are_refused():
    with pytest.raises(HostError, match="ViT backbones only"):
        resample_visual_(nn.Linear(2, 2), 64, "bicubic")


def test_checkpoint_of_another_size_loads_everything_but_the_grid():
    saved, visual = TinyVisual(grid=6), TinyVisual(grid=4)
    own = visual.positional_embedding.detach().clone()
    visual.register_load_state_dict_pre_hook(keep_own_pos_embed)
    visual.load_state_dict(saved.state_dict())
    assert torch.equal(visual.positional_embedding, own)
    assert torch.equal(visual.conv1.weight, saved.conv1.weight)


def test_checkpoint_of_the_same_size_loads_the_grid_too():
    saved, visual = TinyVisual(), TinyVisual()
    visual.register_load_state_dict_pre_hook(keep_own_pos_embed)
    visual.load_state_dict(saved.state_dict())
    assert torch.equal(visual.positional_embedding, saved.positional_embedding)


@pytest.mark.parametrize(("size", "grid"), [(32, 2), (96, 6), (224, 14), (256, 16)])
def test_sizes_that_fit_give_the_grid(size, grid):
    assert grid_size_of(size, 16) == grid


@pytest.mark.parametrize(("size", "near"), [(16, 32), (100, 96), (230, 224)])
def test_a_wrong_size_is_called_as_the_user_calls_it(size, near):
    with pytest.raises(
        ConfigError, match=f"PHI {size} .* at least 32 pixels; the nearest is {near}"
    ):
        grid_size_of(size, 16, "PHI")
