"""Chosen pairs of image and class give what the whole table of features has at their place."""

from __future__ import annotations

import pytest
import torch
from toy_text import CASES, NAMES, contents_for, make_prompts, make_text

from loreal_plugin.text import PrefixTextPath, ReferenceTextPath

PAIRS = torch.tensor([[1, 2], [0, 0], [1, 0], [2, 2], [2, 1], [0, 2], [1, 2]])


@pytest.mark.parametrize("chunk", [0, 1, 2])
@pytest.mark.parametrize(("host", "order"), CASES)
def test_pairs_are_entries_of_the_table(host: str, order: str, chunk: int):
    text = make_text(host)
    prompts, contents = make_prompts(text, order), contents_for(text, n_images=3).detach()
    images, classes = PAIRS.T
    whole = ReferenceTextPath(prompts, text.encode)(contents)
    prefix = PrefixTextPath(prompts, text.blocks(), chunk=chunk)
    for path in (prefix, ReferenceTextPath(prompts, text.encode, chunk=chunk)):
        torch.testing.assert_close(
            path.pairs(contents, images, classes), whole[images, classes], atol=1e-5, rtol=1e-4
        )


def test_a_pair_does_not_depend_on_the_other_pairs():
    text = make_text("branch")
    path, contents = (
        PrefixTextPath(make_prompts(text), text.blocks()),
        contents_for(text, n_images=3).detach(),
    )
    together = path.pairs(contents, *PAIRS.T)
    for row, (image, label) in enumerate(PAIRS.tolist()):
        alone = path.pairs(
            contents[image : image + 1], torch.zeros(1, dtype=torch.long), torch.tensor([label])
        )
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-5)


def test_keys_are_kept_only_where_they_fit_a_part_of_the_budget():
    text = make_text()
    prompts = make_prompts(text, names=NAMES * 5)
    n_bytes = (
        15 * int(prompts.first_content.max()) * 2 * 32 * 4 * 3
    )  # classes, rows, keys and values, float32, layers
    fits, too_small = (
        PrefixTextPath(prompts, text.blocks(), budget=4 * n_bytes + spare) for spare in (0, -4)
    )
    assert fits.store_keys and not too_small.store_keys
    contents = contents_for(text).detach()
    torch.testing.assert_close(too_small(contents), fits(contents), atol=1e-5, rtol=1e-5)
    assert too_small._stored is None and PrefixTextPath(prompts, text.blocks()).store_keys


def test_a_budget_sets_the_classes_a_pass_takes():
    text = make_text()
    prompts, contents = make_prompts(text, names=NAMES * 5), contents_for(text)
    passes: list[int] = []
    for budget in (1, 2**16, 2**30):
        path = PrefixTextPath(prompts, text.blocks(), store_keys=True, budget=budget)
        run, seen = path._run_classes, []
        path._run_classes = lambda classes, *rest, run=run, seen=seen, **kept: (
            seen.append(len(classes)) or run(classes, *rest, **kept)
        )
        path(contents)
        passes.append(len(seen))
        assert sum(seen) == 15
    assert passes[0] == 15 and passes[2] == 1
