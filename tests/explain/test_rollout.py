"""Attention rollout against loops that know where each method puts its learned tokens."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_hosts import METHODS, tiny_student
from torch import Tensor

from loreal_plugin.errors import HostError
from loreal_plugin.explain.rollout import class_attention, recorded_attention, roll_out


def loops(weights: list[Tensor], rows: list[list[object]], n_patches: int) -> list[float]:
    """Follow every row with plain loops: `rows` names what each holds, None for a learned token."""
    places = range(n_patches)
    found: dict[object, list[float]] = {
        ("patch", p): [float(p == q) for q in places] for p in places
    }
    for attention, names in zip(weights, rows, strict=True):
        before = [found.get(name, [0.0] * n_patches) for name in names]
        after: dict[object, list[float]] = {}
        for r in range(len(names)):
            mixed = [0.5 * before[r][q] for q in range(n_patches)]
            for s in range(len(names)):
                for q in range(n_patches):
                    mixed[q] += 0.5 * float(attention[r, s]) * before[s][q]
            after[names[r] if names[r] is not None else ("row", r)] = mixed
        found = after
    return found["class"]


def attention_weights(layer: torch.nn.MultiheadAttention, x: Tensor) -> Tensor:
    """Return the attention (T, T) of rows x (T, D), the mean over heads, head by head."""
    q, k, _ = (x @ layer.in_proj_weight.T + layer.in_proj_bias).chunk(3, dim=-1)
    size, total = x.shape[1] // layer.num_heads, torch.zeros(len(x), len(x))
    for h in range(layer.num_heads):
        part = slice(h * size, (h + 1) * size)
        total += (q[:, part] @ k[:, part].T / math.sqrt(size)).softmax(-1)
    return total / layer.num_heads


def rows_by_layer(method: str, student, n_patches: int) -> list[list[object]]:
    """Return what stands in the rows of each of the three blocks, by tiny_hosts' recipes."""
    patches = [("patch", p) for p in range(n_patches)]
    plain = ["class", *patches]
    if method == "maple":  # two learned rows at the end, new ones in each block
        return [[*plain, None, None]] * 3
    if method == "mmrl":  # tokens behind the class row, from block 2 on
        n = student.model.representation_learner.compound_rep_tokens.shape[0]
        inside = ["class", *[None] * n, *patches]
        return [plain, inside, inside]
    return [plain] * 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [64, 96])
def test_map_equals_the_loops_for_every_method_and_grid(embedded, clip_file, method, size):
    student = tiny_student(embedded(method), clip_file, size=size)
    pixels = torch.randn(2, 3, size, size)
    layers, side = student.contract.image_attention(student.model), size // 16
    read: list[Tensor] = []
    handles = [
        layer.register_forward_pre_hook(lambda _m, args: read.append(args[0])) for layer in layers
    ]
    student.encode_image(pixels[1:])
    for handle in handles:
        handle.remove()
    weights = [attention_weights(layer, x[:, 0]) for layer, x in zip(layers, read, strict=True)]
    naive = loops(weights, rows_by_layer(method, student, side * side), side * side)
    found = class_attention(student, pixels)
    assert found.shape == (2, side, side)
    torch.testing.assert_close(found[1].flatten(), torch.tensor(naive), rtol=1e-3, atol=1e-6)
    assert 0 < float(found[1].sum()) < 1


@pytest.mark.parametrize("method", METHODS)
def test_looking_leaves_the_host_as_it_was(embedded, clip_file, method):
    student = tiny_student(embedded(method), clip_file)
    pixels = torch.randn(1, 3, 64, 64)
    before = student.encode_image(pixels)
    class_attention(student, pixels)
    assert torch.equal(before, student.encode_image(pixels))
    assert not any(
        a._forward_hooks or a._forward_pre_hooks
        for a in student.contract.image_attention(student.model)
    )


def test_hooks_go_away_when_the_encoder_fails():
    layer = torch.nn.MultiheadAttention(8, 2)
    with pytest.raises(ZeroDivisionError), recorded_attention([layer]):
        raise ZeroDivisionError
    assert not layer._forward_hooks and not layer._forward_pre_hooks


def test_one_layer_by_hand():
    weights = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.9, 0.0], [0.0, 0.0, 1.0]])
    constant = torch.tensor([True, False, False])
    torch.testing.assert_close(roll_out([weights], [constant]), torch.tensor([0.25, 0.15]))


def test_rows_that_cannot_be_followed_are_an_error():
    square = torch.full((3, 3), 1 / 3)
    constant = torch.tensor([True, False, False])
    with pytest.raises(
        HostError, match="3 rows left a block of the image tower and 5 enter the next, 1 of"
    ):
        roll_out(
            [square, torch.full((5, 5), 0.2)],
            [constant, torch.tensor([False, True, False, False, False])],
        )


def test_a_tower_without_attention_is_an_error(embedded, clip_file):
    contract = embedded("coop").contract
    with pytest.raises(
        HostError, match="attention was looked for in image_encoder.transformer.resblocks"
    ):
        contract.image_attention(torch.nn.Linear(2, 2))
