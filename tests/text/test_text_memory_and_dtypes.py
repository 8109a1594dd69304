"""Activation memory does not grow with the classes; half precision runs and stays close."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from toy_text import ToyText, make_prompts, make_text

from loreal_plugin.text import PrefixTextPath, ReferenceTextPath
from loreal_plugin.text.blocks import auto_chunk

NAMES = ([10], [11, 12, 13], [14, 15], [16])


def build_path(kind: str, text: ToyText, n_classes: int, order: str, chunk: int):
    prompts = make_prompts(text, order, names=NAMES * (n_classes // len(NAMES)))
    if kind == "prefix":
        return PrefixTextPath(prompts, text.blocks(), chunk=chunk)
    return ReferenceTextPath(prompts, text.encode, chunk=chunk)


def saved_bytes(path, contents: Tensor) -> int:
    """Return the bytes of distinct storages that one forward pass keeps for its backward pass."""
    kept: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    path(contents.detach())
    with saved_tensors_hooks(pack, lambda t: t):
        features = path(contents)
    assert features.requires_grad
    return sum(kept.values())


def peak_bytes(path, contents: Tensor) -> int:
    """Return the most bytes PyTorch held at once, beyond the start, in forward and backward."""
    path(contents.detach())
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as seen:
        path(contents).sum().backward()
    held = peak = 0
    events = (e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]")
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


@pytest.mark.parametrize("order", ["class_first", "slots_first"])
@pytest.mark.parametrize("kind", ["prefix", "reference"])
def test_chunks_keep_no_activations_that_grow_with_classes(kind: str, order: str):
    text = make_text()
    contents = torch.randn(2, 3, 32, requires_grad=True)
    few, many = (saved_bytes(build_path(kind, text, n, order, chunk=4), contents) for n in (8, 64))
    one_pass = saved_bytes(build_path(kind, text, 64, order, chunk=64), contents)
    # What grows is the list of class indices of each chunk.
    assert many - few < 64 * 100
    assert one_pass > 2 * many


@pytest.mark.parametrize("kind", ["prefix", "reference"])
def test_peak_of_a_training_step_does_not_grow_with_classes(kind: str):
    text = make_text()
    contents = torch.randn(2, 3, 32, requires_grad=True)
    few, many = (
        peak_bytes(build_path(kind, text, n, "class_first", chunk=4), contents) for n in (8, 64)
    )
    one_pass = peak_bytes(build_path(kind, text, 64, "class_first", chunk=64), contents)
    # Features and their gradient, (B, C, D_v) each, are the result; they may grow.
    results = 8 * (64 - 8) * 2 * 16 * 4
    assert many < few + results
    assert one_pass > 3 * many


def test_automatic_chunk_fits_the_budget_and_is_never_empty():
    cpu = torch.device("cpu")
    # CLIP's text size, four images, 22 suffix rows behind 9 earlier ones:
    # about 34 MiB a class, 2 GiB in all.
    assert 55 <= auto_chunk(4 * 22, 512, 12, True, cpu, earlier=4 * 9) <= 65
    assert (
        auto_chunk(88, 512, 12, True, cpu, budget=2**30)
        == auto_chunk(88, 512, 12, True, cpu) * 3 // 8
    )
    at_test, in_training = (
        auto_chunk(4 * 22, 512, 12, grad, cpu, budget=2**30) for grad in (False, True)
    )
    assert at_test > 5 * in_training
    assert auto_chunk(10**9, 512, 12, True, cpu) == 1
    assert auto_chunk(88, 512, 12, True, torch.device("cuda")) > auto_chunk(88, 512, 12, True, cpu)


@pytest.mark.parametrize(("order", "budget"), [("class_first", 2**24), ("slots_first", 2**22)])
def test_a_training_step_stays_within_its_budget(order: str, budget: int):
    text = make_text(width=128)
    contents = torch.randn(4, 3, 128, requires_grad=True)
    path = PrefixTextPath(make_prompts(text, order, names=NAMES * 40), text.blocks(), budget=budget)
    free = PrefixTextPath(path.prompts, text.blocks(), chunk=160)
    assert peak_bytes(free, contents) > budget > peak_bytes(path, contents)
    torch.testing.assert_close(
        gradient_of(path, contents), gradient_of(free, contents), atol=1e-4, rtol=1e-4
    )


def gradient_of(path, contents: Tensor) -> Tensor:
    features = path(contents)
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(5))
    return torch.autograd.grad((features * weights).sum(), contents)[0]


@pytest.mark.parametrize("host", ["identity", "replace", "insert", "branch"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_hosts_give_half_precision_features_near_float32(
    dtype: torch.dtype, host: str
):
    contents = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    want_text = make_text(host)
    want = PrefixTextPath(make_prompts(want_text), want_text.blocks())(contents)
    text = make_text(host, dtype=dtype)
    # Meta-nets stay in float32 on a half-precision host.
    got = PrefixTextPath(make_prompts(text), text.blocks())(contents)
    assert got.dtype == dtype
    cosine = torch.nn.functional.cosine_similarity(got.float(), want, dim=-1)
    assert cosine.min() > 0.99
    (gradient,) = torch.autograd.grad(got.float().sum(), contents)
    assert gradient.dtype == torch.float32
    assert torch.isfinite(gradient).all()


def test_autocast_uses_the_same_stored_keys_as_full_precision():
    text = make_text("branch")
    prompts, contents = make_prompts(text), torch.randn(2, 3, 32)
    full = PrefixTextPath(prompts, text.blocks())(contents)
    path = PrefixTextPath(prompts, text.blocks())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = path(contents)
    assert torch.nn.functional.cosine_similarity(mixed.float(), full, dim=-1).min() > 0.99
    torch.testing.assert_close(path(contents), full)
