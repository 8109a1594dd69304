"""Splicing against a construction token by token, and the errors of prompts that do not fit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from loreal_plugin.errors import ConfigError
from loreal_plugin.method.slots import (
    SLOT_ORDERS,
    SplicedPrompts,
    class_index,
    slot_length,
    splice_slots,
)
from loreal_plugin.text.reference import materialise

SOS, EOT, PERIOD, WITH, LENGTH, WIDTH = 46, 47, 5, 6, 24, 4
TABLE = torch.randn(48, WIDTH, generator=torch.Generator().manual_seed(0))
CTX = [1, 2]
NAMES = {"cat": [10], "polar bear": [11, 12, 13], "red fox": [14, 15]}
SHARED = [[20], [21, 22], [23, 24, 25]]
OWN = [[[20], [21, 22]], [[23, 24, 25], [26]], [[27], [28]]]


def embed(ids: Tensor) -> Tensor:
    return TABLE[ids]


def host_prompts(period: bool) -> tuple[Tensor, Tensor]:
    tokens = torch.zeros(len(NAMES), LENGTH, dtype=torch.long)
    for c, name in enumerate(NAMES.values()):
        ids = [SOS, *CTX, *name, *([PERIOD] if period else []), EOT]
        tokens[c, : len(ids)] = torch.tensor(ids)
    # What the host learned is not what the token table says.
    embeddings = embed(tokens) + 0.5 * torch.randn(len(NAMES), LENGTH, WIDTH)
    return embeddings, tokens


def splice(embeddings: Tensor, tokens: Tensor, **options: object) -> SplicedPrompts:
    defaults = {
        "attribute_tokens": [SHARED] * len(NAMES),
        "embed": embed,
        "n_content": 2,
        "order": "class_first",
        "class_start": torch.full((len(NAMES),), 1 + len(CTX)),
        "with_token": WITH,
        "period_token": PERIOD,
        "classnames": list(NAMES),
    }
    return splice_slots(embeddings, tokens, **{**defaults, **options})


def by_hand(
    embeddings: Tensor,
    contents: Tensor,
    c: int,
    attributes: list[list[int]],
    order: str,
    period: bool,
    m: int,
    words: bool = True,
    filled: bool = True,
) -> tuple[list[Tensor], list[int]]:
    """Build one image's prompt of one class token by token; return rows and ids up to EOT."""
    name = list(NAMES.values())[c]
    host_ids = [SOS, *CTX, *name, *([PERIOD] if period else []), EOT]
    host = [(embeddings[c, i], t) for i, t in enumerate(host_ids)]
    slots = []
    for k, ids in enumerate(attributes):
        for _ in range(m if filled else 0):
            slots.append((contents[k], 0))
        for t in ids if words else []:
            slots.append((TABLE[t], t))
    n = 1 + len(CTX)
    if order == "class_first":
        body = host[: n + len(name)] + [(TABLE[WITH], WITH)] + slots + host[n + len(name) :]
    elif order == "slots_first":
        body = host[:1] + slots + host[1:]
    else:
        body = host[:n] + slots + host[n:]
    return [row for row, _ in body], [t for _, t in body]


@pytest.mark.parametrize("parts", [{}, {"words": False}, {"contents": False}])
@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("period", [True, False])
@pytest.mark.parametrize("attributes", [[SHARED] * 3, OWN], ids=["shared", "per-class"])
@pytest.mark.parametrize("order", SLOT_ORDERS)
def test_splice_equals_a_token_by_token_construction(order, attributes, period, m, parts):
    embeddings, tokens = host_prompts(period)
    prompts = splice(
        embeddings, tokens, order=order, attribute_tokens=attributes, n_content=m, **parts
    )
    contents = torch.randn(2, prompts.n_attributes, WIDTH)
    full = materialise(prompts, contents)
    assert full.shape == (2, len(NAMES), LENGTH, WIDTH)
    words, filled = parts.get("words", True), parts.get("contents", True)
    for c in range(len(NAMES)):
        own = attributes[c]
        for b in range(2):
            rows, ids = by_hand(embeddings, contents[b], c, own, order, period, m, words, filled)
            assert torch.equal(full[b, c, : len(rows)], torch.stack(rows))
        assert prompts.tokens[c, : len(ids)].tolist() == ids
        assert prompts.tokens[c].argmax().item() == prompts.eot[c].item() == len(ids) - 1
        is_content = [i for i, t in enumerate(ids) if t == 0]
        assert prompts.first_content[c].item() == (is_content[0] if filled else len(ids) - 1)
    assert prompts.n_attributes == len(attributes[0])
    assert prompts.n_content == m


def test_gradient_of_a_content_sums_over_its_places():
    prompts = splice(*host_prompts(True), n_content=2)
    contents = torch.randn(1, 3, WIDTH, requires_grad=True)
    materialise(prompts, contents).sum().backward()
    assert torch.equal(contents.grad, torch.full_like(contents, 2.0 * len(NAMES)))


def test_chosen_classes_are_taken():
    prompts = splice(*host_prompts(True))
    contents = torch.randn(2, 3, WIDTH)
    full = materialise(prompts, contents)
    assert torch.equal(materialise(prompts, contents, slice(1, 3)), full[:, 1:3])
    assert torch.equal(materialise(prompts, contents, torch.tensor([2, 0])), full[:, [2, 0]])
    assert class_index(prompts, None).tolist() == [0, 1, 2]


def test_without_words_and_contents_the_prompts_are_the_hosts_own():
    embeddings, tokens = host_prompts(True)
    prompts = splice(embeddings, tokens, words=False, contents=False)
    assert torch.equal(prompts.tokens, tokens) and torch.equal(prompts.eot, tokens.argmax(-1))
    contents = torch.randn(2, 3, WIDTH)
    assert torch.equal(materialise(prompts, contents), embeddings.expand(2, *embeddings.shape))


@pytest.mark.parametrize("words", [True, False])
@pytest.mark.parametrize("contents", [True, False])
@pytest.mark.parametrize("order", SLOT_ORDERS)
def test_slots_are_as_long_as_what_is_spliced_in(order: str, contents: bool, words: bool):
    embeddings, tokens = host_prompts(period=True)
    parts = {"words": words, "contents": contents}
    spliced = splice(embeddings, tokens, attribute_tokens=OWN, order=order, **parts)
    added = (spliced.eot - tokens.argmax(-1)).tolist()
    assert added == [slot_length(own, order=order, n_content=2, **parts) for own in OWN]


def test_longest_prompt_that_fits_is_taken_and_one_more_is_refused():
    embeddings, tokens = host_prompts(True)
    # The longest prompt has 8 tokens; with "with", 15 more fit into 24.
    assert (
        int(splice(embeddings, tokens, attribute_tokens=[[[20] * 13]] * 3).eot.max()) == LENGTH - 1
    )
    with pytest.raises(ConfigError, match="class 'polar bear'.* takes 25 tokens, .* reads 24"):
        splice(embeddings, tokens, attribute_tokens=[[[20] * 14]] * 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "class_frist"}, "unknown SLOT_ORDER .*class_first"),
        ({"n_content": 0}, "N_CONTENT must be at least 1"),
    ],
)
def test_wrong_slots_are_refused(options: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        splice(*host_prompts(True), **options)
