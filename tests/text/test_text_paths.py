"""Both text paths give equal features and gradients, chunked or not, whatever a host changes."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from toy_text import CASES, NAMES, ToyText, contents_for, make_prompts, make_text

from loreal_plugin.errors import ConfigError, HostError
from loreal_plugin.method.slots import SLOT_ORDERS, SplicedPrompts
from loreal_plugin.text import PrefixTextPath, ReferenceTextPath, TextBlocks, chunks
from loreal_plugin.text.chunks import group_sizes


def features_and_gradient(path, contents: Tensor, **call) -> tuple[Tensor, Tensor]:
    features = path(contents, **call)
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(2)).to(
        features.dtype
    )
    (gradient,) = torch.autograd.grad((features * weights).sum(), contents)
    return features.detach(), gradient


def assert_paths_agree(text: ToyText, prompts: SplicedPrompts, **prefix_options) -> None:
    contents = contents_for(text, k=prompts.n_attributes)
    want, want_gradient = features_and_gradient(ReferenceTextPath(prompts, text.encode), contents)
    got, got_gradient = features_and_gradient(
        PrefixTextPath(prompts, text.blocks(), **prefix_options), contents
    )
    logits, want_logits = (100 * torch.nn.functional.normalize(t, dim=-1) for t in (got, want))
    assert (logits - want_logits).abs().max() < 1e-4
    assert (got_gradient - want_gradient).norm() < 1e-4 * want_gradient.norm()


def test_reference_encodes_every_image_and_class_by_itself():
    text = make_text()
    prompts = make_prompts(text)
    contents = contents_for(text)
    features = ReferenceTextPath(prompts, text.encode)(contents)
    for b in range(2):
        for c in range(len(NAMES)):
            rows = [
                (
                    contents[b, int(s) - prompts.first_content_source]
                    if s >= prompts.first_content_source
                    else prompts.static_rows(torch.tensor([c]))[0, i]
                )
                for i, s in enumerate(prompts.source[c])
            ]
            alone = text.encode(torch.stack(rows)[None], prompts.tokens[c : c + 1])
            torch.testing.assert_close(features[b, c], alone[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("host", "order"), CASES)
def test_prefix_equals_reference(host: str, order: str):
    text = make_text(host)
    assert_paths_agree(text, make_prompts(text, order))


@pytest.mark.parametrize("order", ["slots_first", "ctx_first"])
@pytest.mark.parametrize("host", ["identity", "insert", "branch"])
def test_prefix_equals_reference_where_contexts_are_per_class(host: str, order: str):
    def own_context(embeddings: Tensor, _tokens: Tensor) -> None:
        embeddings[:, 1:4] += torch.arange(len(embeddings))[:, None, None]

    text = make_text(host)
    assert_paths_agree(text, make_prompts(text, order, change=own_context))


def test_prefix_equals_reference_with_attributes_of_each_class():
    text = make_text()
    own = [[[20], [21, 22], [23]], [[20, 24], [25], [26]], [[27], [28], [29]]]
    for order in SLOT_ORDERS:
        assert_paths_agree(text, make_prompts(text, order, attribute_tokens=own))


@pytest.mark.parametrize("parts", [{"words": False}, {"contents": False}])
@pytest.mark.parametrize("order", SLOT_ORDERS)
def test_prefix_equals_reference_for_slots_without_one_part(parts: dict, order: str):
    text = make_text()
    prompts = make_prompts(text, order, **parts)
    if "words" in parts:
        assert_paths_agree(text, prompts)
        return
    contents = contents_for(text)
    want = ReferenceTextPath(prompts, text.encode)(contents)
    got = PrefixTextPath(prompts, text.blocks())(contents)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_prefix_equals_reference_for_one_class_and_for_equal_names():
    text = make_text()
    for names in ([[10]], ([10], [10]), ([10], [11])):
        for order in SLOT_ORDERS:
            assert_paths_agree(text, make_prompts(text, order, names=tuple(names)))


@pytest.mark.parametrize("host", ["identity", "insert", "branch"])
@pytest.mark.parametrize("order", SLOT_ORDERS)
def test_classes_run_in_groups_of_equal_length_give_the_same(monkeypatch, host: str, order: str):
    monkeypatch.setattr(chunks, "_PASS_COST", {"cpu": 0})  # every length is a group of its own
    text = make_text(host)
    prompts = make_prompts(text, order, names=([10], [11, 12, 13], [14], [15, 16], [17, 18, 19]))
    assert_paths_agree(text, prompts)
    path, contents = PrefixTextPath(prompts, text.blocks()), contents_for(text).detach()
    chosen = torch.tensor([3, 0, 1])
    torch.testing.assert_close(
        path(contents, chosen), path(contents)[:, chosen], atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("cost", [0, 3, 10, 1000])
def test_groups_are_the_cheapest_of_all_ways_to_cut(cost: int):
    n_rows = [5, 3, 9, 3, 4, 9, 5, 3]
    ordered = sorted(n_rows)

    def price(sizes: list[int]) -> int:
        ends = list(itertools.accumulate(sizes))
        return sum(size * ordered[end - 1] + cost for size, end in zip(sizes, ends, strict=True))

    bars = itertools.product([False, True], repeat=len(n_rows) - 1)
    ways = [[len(list(run)) for run in _runs(bar)] for bar in bars]
    got = group_sizes(n_rows, cost)
    assert sum(got) == len(n_rows)
    assert price(got) == min(map(price, ways))


def _runs(bar: tuple[bool, ...]) -> list[list[int]]:
    runs: list[list[int]] = [[0]]
    for place, cut in enumerate(bar, start=1):
        runs = [*runs, [place]] if cut else [*runs[:-1], [*runs[-1], place]]
    return runs


@pytest.mark.parametrize("store_keys", [True, False])
@pytest.mark.parametrize("order", SLOT_ORDERS)
def test_chunks_over_classes_change_nothing(order: str, store_keys: bool):
    text = make_text("insert")
    prompts = make_prompts(text, order)
    contents = contents_for(text)
    whole = features_and_gradient(PrefixTextPath(prompts, text.blocks(), chunk=3), contents)
    for path in (
        PrefixTextPath(prompts, text.blocks(), chunk=1, store_keys=store_keys),
        PrefixTextPath(prompts, text.blocks(), chunk=2, store_keys=store_keys),
        ReferenceTextPath(prompts, text.encode, chunk=2),
    ):
        torch.testing.assert_close(
            features_and_gradient(path, contents), whole, atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("order", SLOT_ORDERS)
def test_chosen_classes_give_their_columns(order: str):
    text = make_text()
    prompts = make_prompts(text, order)
    contents = contents_for(text).detach()
    for path in (
        PrefixTextPath(prompts, text.blocks(), chunk=1),
        ReferenceTextPath(prompts, text.encode),
    ):
        everything = path(contents)
        torch.testing.assert_close(
            path(contents, slice(1, 3)), everything[:, 1:3], atol=1e-5, rtol=1e-5
        )
        order_ = torch.tensor([2, 0])
        torch.testing.assert_close(
            path(contents, order_), everything[:, order_], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("order", SLOT_ORDERS)
def test_features_of_an_image_do_not_depend_on_batch_mates(order: str):
    text = make_text("branch")
    prompts = make_prompts(text, order)
    contents = contents_for(text, n_images=4).detach()
    for path in (PrefixTextPath(prompts, text.blocks()), ReferenceTextPath(prompts, text.encode)):
        together = path(contents)
        alone = torch.cat([path(contents[b : b + 1]) for b in range(4)])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(path(contents[[2, 0]]), together[[2, 0]], atol=1e-5, rtol=1e-5)


def test_embedding_of_contents_is_applied_on_both_paths():
    text = make_text()
    prompts = make_prompts(text)
    contents = contents_for(text)
    blocks = TextBlocks(
        *(text.positions, list(text.layers), text.norm, text.projection),
        embed_contents=lambda x: 2 * x,
    )
    want = ReferenceTextPath(prompts, text.encode)(2 * contents)
    torch.testing.assert_close(
        PrefixTextPath(prompts, blocks)(contents), want, atol=1e-5, rtol=1e-5
    )
    reference = ReferenceTextPath(prompts, text.encode, embed_contents=lambda x: 2 * x)
    torch.testing.assert_close(reference(contents), want)


def test_static_rows_run_once_until_invalidated():
    text = make_text()
    calls: list[int] = []
    blocks = TextBlocks(
        *(text.positions, list(text.layers), text.norm, text.projection),
        enter=lambda i, x: (calls.append(i), x)[1],
    )
    path = PrefixTextPath(make_prompts(text), blocks, chunk=1)
    contents = contents_for(text)
    path(contents).sum().backward()
    path(contents)
    assert calls == [0, 1, 2]
    path.invalidate()
    path(contents)
    assert calls == [0, 1, 2] * 2


def test_keys_stored_in_inference_mode_serve_training():
    text = make_text()
    prompts = make_prompts(text)
    path, contents = PrefixTextPath(prompts, text.blocks()), contents_for(text)
    with torch.inference_mode():
        path(contents.detach())
    want = features_and_gradient(PrefixTextPath(prompts, text.blocks()), contents)
    torch.testing.assert_close(features_and_gradient(path, contents), want)


def test_invalidating_makes_the_path_see_a_changed_host():
    text = make_text("replace")
    prompts = make_prompts(text)
    contents = contents_for(text).detach()
    path = PrefixTextPath(prompts, text.blocks())
    before = path(contents)
    text.deep += 1
    assert torch.equal(path(contents), before)
    path.invalidate()
    want = ReferenceTextPath(prompts, text.encode)(contents)
    torch.testing.assert_close(path(contents), want, atol=1e-5, rtol=1e-5)


def test_slots_where_the_host_overwrites_rows_are_refused():
    text = make_text("replace")
    with pytest.raises(ConfigError, match="overwrites rows up to 2.*class_first"):
        PrefixTextPath(make_prompts(text, "slots_first"), text.blocks())


def test_blocks_of_another_kind_are_refused_by_name():
    text = make_text()
    with pytest.raises(HostError, match="text block 0 .Linear. has no ln_1, attn, ln_2, mlp"):
        TextBlocks(text.positions, [torch.nn.Linear(2, 2)], text.norm, text.projection)
