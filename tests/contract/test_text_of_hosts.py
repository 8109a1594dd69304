"""The prefix path with each contract's text blocks equals the host's own text encoder."""

from __future__ import annotations

import pytest
import torch
from tiny_hosts import METHODS, tiny_student
from torch import nn

from loreal_plugin.contract import maple
from loreal_plugin.errors import ConfigError
from loreal_plugin.method.slots import splice_slots
from loreal_plugin.text import PrefixTextPath, ReferenceTextPath

WITH, PERIOD = "with", "."
ATTRIBUTES = ("color", "body shape", "size")


def ids(student, text):
    row = student.tokenize(text)[0]
    return row[1 : int(row.argmax())].tolist()


def spliced(student, order):
    prompts = student.prompts()
    return splice_slots(
        prompts.embeddings,
        prompts.tokens,
        attribute_tokens=[[ids(student, word) for word in ATTRIBUTES]] * len(student.classnames),
        embed=student.token_embedding,
        n_content=2,
        order=order,
        class_start=prompts.class_start,
        with_token=ids(student, WITH)[0],
        period_token=ids(student, PERIOD)[0],
        classnames=student.classnames,
    )


def both_paths(student, order, chunk=0):
    prompts = spliced(student, order)
    reference = ReferenceTextPath(prompts, student.encode_text, chunk, student.embed_contents)
    return reference, PrefixTextPath(prompts, student.text_blocks(), chunk)


def assert_paths_agree(student, order, chunk=0):
    """Compare features, logits-sized (x100), and the gradients that reach the contents."""
    torch.manual_seed(3)
    start = torch.randn(2, len(ATTRIBUTES), 64) * 0.1
    results = []
    for path in both_paths(student, order, chunk):
        contents = start.clone().requires_grad_(True)
        features = path(contents)
        unit = features / features.norm(dim=-1, keepdim=True)
        (unit * torch.linspace(-1, 1, unit.numel()).reshape(unit.shape)).sum().backward()
        results.append((100 * unit.detach(), contents.grad))
    (want, want_grad), (got, got_grad) = results
    assert want_grad.abs().max() > 0
    torch.testing.assert_close(
        got, want, rtol=0, atol=1e-4 * max(1.0, want.abs().max().item() / 100)
    )
    assert (got_grad - want_grad).abs().max() <= 1e-4 * want_grad.abs().max()


CASES = [
    (method, order) for method in METHODS for order in ("class_first", "slots_first", "ctx_first")
]


@pytest.mark.parametrize("method, order", CASES)
def test_prefix_path_equals_the_host(embedded, clip_file, method, order):
    student = tiny_student(embedded(method), clip_file)
    if order not in student.contract.slot_orders:
        with pytest.raises(ConfigError, match="class_first"):
            both_paths(student, order)
        return
    assert_paths_agree(student, order)


@pytest.mark.parametrize("method", METHODS)
def test_prefix_path_equals_the_host_in_chunks(embedded, clip_file, method):
    assert_paths_agree(tiny_student(embedded(method), clip_file), "class_first", chunk=3)


def test_adapter_of_the_embeddings_reaches_contents_and_words(embedded, clip_file):
    host = embedded("mma")
    student = tiny_student(host, clip_file, "TRAINER.MMADAPTER.ADAPTER_START", "0")
    rows = torch.randn(2, 3, 64)
    assert not torch.allclose(student.embed_contents(rows), rows)
    plain = torch.nn.functional.embedding(torch.tensor([5]), student.token_weight)
    torch.testing.assert_close(
        student.token_embedding(torch.tensor([5])), student.embed_contents(plain)
    )
    assert_paths_agree(student, "class_first")


def test_deep_prompts_are_not_rounded_where_the_host_does_not(embedded, clip_file):
    student = tiny_student(embedded("maple"), clip_file)
    deep = list(student.contract.own(student.model).compound_prompts_text)
    assert not maple.rounds_to_half(student.model, deep)


def test_deep_prompts_are_rounded_where_the_host_does(embedded, clip_file):
    student = tiny_student(embedded("maple"), clip_file)

    class Rounding(nn.Module):
        """The public MaPLe's habit around the embedded text encoder."""

        def __init__(self, inner):
            super().__init__()
            self.inner, self.dtype = inner, inner.dtype
            for name in ("transformer", "positional_embedding", "ln_final", "text_projection"):
                setattr(self, name, getattr(inner, name))

        def forward(self, prompts, tokens, deep):
            return self.inner(prompts, tokens, [rows.half().float() for rows in deep])

    student.model.text_encoder = Rounding(student.model.text_encoder)
    deep = list(student.contract.own(student.model).compound_prompts_text)
    assert maple.rounds_to_half(student.model, deep)
    assert_paths_agree(student, "class_first")
    entered = student.text_blocks().enter(1, torch.zeros(1, 8, 64))
    assert torch.equal(entered[0, 1:3], deep[0].half().float())
