"""Where every token of a class's prompt comes from, by the splice that training uses.

Shapes: L tokens, K attributes, M content tokens per slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

import torch

from loreal_plugin.contract.text import attributes_per_class, tokenise_attributes
from loreal_plugin.method.slots import splice_slots
from loreal_plugin.options import WITH_CONTENTS, WITH_WORDS
from loreal_plugin.plain_output import counted
from loreal_plugin.weights.package import borrowed_clip

CONTEXT_LENGTH = 77
TEMPLATE = "a photo of a"
# The splice refuses what the encoder cannot read; counting must go on.
# So it gets more room than any prompt needs.
_ROOM = 1024


@dataclass(frozen=True)
class Part:
    """A run of tokens of one origin: where it starts, and how many tokens it has."""

    kind: str
    text: str
    start: int
    n_tokens: int


@lru_cache(maxsize=1)
def clip_tokenizer() -> Any:
    """Return CLIP's tokenizer; no module `clip` stays behind for a host to trip over."""
    with borrowed_clip() as clip:
        return clip.clip._tokenizer


def prompt_parts(
    classname: str,
    words: Sequence[str],
    *,
    n_content: int = 2,
    order: str = "class_first",
    template: str = TEMPLATE,
    slot_parts: str = "both",
) -> list[Part]:
    """Return the parts of `<template> CLS with S_1 [A_1] ... .` in the order of the prompt.

    Args:
        classname: as the dataset spells it; underscores are spaces.
        words: K attributes.
        n_content: M.
        order: one of `loreal_plugin.method.slots.SLOT_ORDERS`.
        template: what stands before the class name; a learned context counts as its words.
        slot_parts: see the key SLOT_PARTS.

    Raises:
        ConfigError, AttributeFileError: see `splice_slots` and `tokenise_attributes`.
    """
    tokenizer = clip_tokenizer()
    encode = tokenizer.encode
    name = classname.replace("_", " ")
    start, end = (tokenizer.encoder[f"<|{which}oftext|>"] for which in ("start", "end"))
    ids = [start, *encode(f"{template} {name}."), end]
    tokens = torch.tensor([ids + [0] * (_ROOM - len(ids))])
    n_template, n_name = len(encode(template)), len(encode(name))
    of_words = tokenise_attributes(list(words), encode, "the prompt")
    prompts = splice_slots(
        torch.zeros(1, _ROOM, 1),
        tokens,
        attribute_tokens=attributes_per_class(of_words, [classname]),
        embed=lambda of: torch.zeros(len(of), 1),
        n_content=n_content,
        order=order,
        class_start=torch.tensor([1 + n_template]),
        with_token=encode("with")[0],
        period_token=encode(".")[0],
        classnames=[classname],
        words=slot_parts in WITH_WORDS,
        contents=slot_parts in WITH_CONTENTS,
    )
    row, length = prompts.source[0, : int(prompts.eot[0]) + 1].tolist(), prompts.context_length
    spans = _host_spans(n_template, n_name, len(ids))
    lead = order == "class_first" and slot_parts != "none"
    slots = _slot_labels(words, n_content, slot_parts, [len(encode(w)) for w in words], lead)
    labels = [spans[s] if s < length else next(slots) for s in row]
    return _joined(labels, {"context": template, "class": name})


def count_tokens(parts: Sequence[Part]) -> int:
    """Return the length of the prompt, start and end included."""
    return sum(part.n_tokens for part in parts)


def longest_name(classnames: Sequence[str]) -> str:
    """Return the class name with the most tokens."""
    encode = clip_tokenizer().encode
    return max(classnames, key=lambda name: len(encode(name.replace("_", " "))))


def budget_fault(words: Sequence[str], classnames: Sequence[str], **layout: Any) -> str:
    """Return what is wrong with the length of the longest prompt, "" when it fits."""
    name = longest_name(classnames)
    used = count_tokens(prompt_parts(name, words, **layout))
    if used <= CONTEXT_LENGTH:
        return ""
    return (
        f"the prompt of '{name}' takes {used} tokens, the text encoder reads {CONTEXT_LENGTH}: "
        f"shorten the attributes by {counted(used - CONTEXT_LENGTH, 'token')}"
    )


def _joined(labels: Sequence[tuple[str, str]], texts: dict[str, str]) -> list[Part]:
    """Return a part for each run of equal labels; `texts` names the host's own kinds."""
    texts = texts | {"start": "<start>", "end": "<end>", "period": ".", "with": "with"}
    parts, at = [], 0
    for (kind, text), run in groupby(labels):
        count = len(list(run))
        parts.append(Part(kind, text or texts[kind], at, count))
        at += count
    return parts


def _host_spans(n_template: int, n_name: int, n_ids: int) -> list[tuple[str, str]]:
    """Return (kind, text) of every token of the host's own prompt."""
    inside = [("context", "")] * n_template + [("class", "")] * n_name
    rest = n_ids - 2 - len(inside)
    # A name that ends in punctuation can melt with the final period.
    inside = inside[: n_ids - 2] if rest < 1 else inside + [("period", "")] * rest
    return [("start", ""), *inside, ("end", "")]


def _slot_labels(
    words: Sequence[str], n_content: int, slot_parts: str, counts: Sequence[int], lead: bool
) -> Any:
    """Yield (kind, text) of every spliced token in order."""
    if lead:
        yield "with", ""
    for k, (word, count) in enumerate(zip(words, counts, strict=True), start=1):
        if slot_parts in WITH_CONTENTS:
            yield from [(f"contents {k}", f"S_{k} x {n_content}")] * n_content
        if slot_parts in WITH_WORDS:
            yield from [(f"attribute {k}", word)] * count
