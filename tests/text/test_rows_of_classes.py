"""A host that puts other rows into each class's prompt: both text paths know which class runs."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from toy_text import contents_for, make_prompts, make_text

from loreal_plugin.method.slots import SLOT_ORDERS
from loreal_plugin.text import PrefixTextPath, ReferenceTextPath


@pytest.mark.parametrize("order", SLOT_ORDERS)
@pytest.mark.parametrize("chunk", [0, 2])
@pytest.mark.parametrize("store", [True, False])
def test_both_paths_give_each_class_its_own_rows(order: str, chunk: int, store: bool) -> None:
    text = make_text()
    prompts = make_prompts(text, order)
    blocks = dataclasses.replace(text.blocks(), enter=None, enter_class=text.enter_class)
    prefix = PrefixTextPath(prompts, blocks, chunk, store_keys=store)
    reference = ReferenceTextPath(prompts, text.encode, chunk, by_class=True)
    contents = contents_for(text, k=prompts.n_attributes)
    want = reference(contents)
    torch.testing.assert_close(prefix(contents), want, atol=1e-4, rtol=1e-4)
    # other rows than those of a host that has none, so the class was heard
    none = ReferenceTextPath(prompts, text.encode)(contents)
    assert ((want - none).abs().amax(-1) > 1e-2).all()
    some = torch.tensor([2, 0])
    for path in (prefix, reference):
        torch.testing.assert_close(path(contents, some), want[:, some], atol=1e-4, rtol=1e-4)
        pairs = path.pairs(contents, torch.tensor([1, 0, 1]), torch.tensor([0, 2, 1]))
        wanted = want[torch.tensor([1, 0, 1]), torch.tensor([0, 2, 1])]
        torch.testing.assert_close(pairs, wanted, atol=1e-4, rtol=1e-4)


def test_prompts_that_are_alike_are_not_run_once_for_all() -> None:
    text = make_text()
    names = ([10], [11], [12])  # slots before the name: all static rows are equal
    prompts = make_prompts(text, "slots_first", names)
    blocks = dataclasses.replace(text.blocks(), enter=None, enter_class=text.enter_class)
    contents = contents_for(text, k=prompts.n_attributes)
    want = ReferenceTextPath(prompts, text.encode, by_class=True)(contents)
    found = PrefixTextPath(prompts, blocks)(contents)
    torch.testing.assert_close(found, want, atol=1e-4, rtol=1e-4)
