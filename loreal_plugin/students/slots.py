"""Slots in a student's prompts: attribute words to tokens, and the text path that runs them.

Shapes: B images, C classes, K attributes, D_t text width, D_v joint width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.contract import HostContract
from loreal_plugin.contract.tokens import attribute_ids, text_ids
from loreal_plugin.errors import ConfigError
from loreal_plugin.method.losses import text_passes
from loreal_plugin.method.meta_nets import MetaNets, init_meta_nets_
from loreal_plugin.method.slots import splice_slots
from loreal_plugin.options import WITH_CONTENTS, WITH_WORDS, LorealOptions
from loreal_plugin.students.student import Student
from loreal_plugin.text import PrefixTextPath, ReferenceTextPath

# A word that means next to nothing before an attribute, and stands for "not told" in the
# demonstration captions: the start of META_INIT neutral.
NEUTRAL_WORD = "some"


def with_slots(student: Student, words: Sequence[Any], options: LorealOptions) -> Student:
    """Return the student with slots for these attributes in its prompts; the model is the same.

    Args:
        words: K attributes, or K for every class.

    Raises:
        ConfigError: the method cannot take the slot order, or a prompt would be too long.
        AttributeFileError: an attribute tokenises to nothing.
    """
    path = build_text_path(student, words, options)
    kept = tuple(word if isinstance(word, str) else tuple(word) for word in words)
    return replace(student, words=kept, text_path=path, condition_on=options.mmrl_condition)


def check_text_path(contract: HostContract, options: LorealOptions) -> None:
    """Check that a method can take the slot order and the text path.

    Raises:
        ConfigError: it overwrites the rows where the slots would be; or its prompts differ from
            image to image, so that nothing of them can be computed once a class.
    """
    if options.slot_order not in contract.slot_orders:
        raise ConfigError(
            f"SLOT_ORDER {options.slot_order} is not possible for method '{contract.method}', which"
            " overwrites the rows after the start token; choose"
            f" {' or '.join(contract.slot_orders)}"
        )
    if options.text_path == "prefix" and not contract.static_prompts:
        raise ConfigError(
            f"TEXT_PATH prefix is not possible for method '{contract.method}', whose own context"
            " depends on the image; set TRAINER.LOREAL.TEXT_PATH reference"
        )


def build_text_path(
    student: Student, words: Sequence[Any], options: LorealOptions
) -> PrefixTextPath | ReferenceTextPath:
    """Return contents (B, K, D_t) -> text features (B, C, D_v); arguments as in `with_slots`."""
    check_text_path(student.contract, options)
    host, names = student.prompts(), list(student.classnames)
    ids = attributes_per_class(attribute_ids(words, student.tokenize), names)
    prompts = splice_slots(
        host.embeddings,
        host.tokens,
        attribute_tokens=ids,
        embed=student.token_embedding,
        n_content=options.n_content,
        order=options.slot_order,
        class_start=host.class_start,
        with_token=text_ids("with", student.tokenize)[0],
        period_token=text_ids(".", student.tokenize)[0],
        classnames=names,
        words=options.slot_parts in WITH_WORDS,
        contents=options.slot_parts in WITH_CONTENTS,
    )
    budget = options.memory_budget_mb * 2**20
    if budget:  # text passes of a training step hold their activations at the same time
        budget //= text_passes(options)
    if options.text_path == "reference":
        encode, change = student.encode_classes, student.embed_contents
        return ReferenceTextPath(
            prompts, encode, options.class_chunk, change, budget, by_class=True
        )
    return PrefixTextPath(prompts, student.text_blocks(), options.class_chunk, budget=budget)


def attributes_per_class(
    attribute_tokens: Sequence[Any], classnames: Sequence[str]
) -> list[Sequence[Sequence[int]]]:
    """Return C lists of K lists of ids.

    Args:
        attribute_tokens: K lists for all classes, or C lists of K.
        classnames: C names.

    Raises:
        ConfigError: an attribute without a token; not K of them for every class.
    """
    if not len(attribute_tokens) or not len(attribute_tokens[0]):
        raise ConfigError("no attribute, or one without a token; every slot needs a word")
    per_class = not isinstance(attribute_tokens[0][0], int)
    table = list(attribute_tokens) if per_class else [attribute_tokens] * len(classnames)
    if len(table) != len(classnames):
        raise ConfigError(
            f"attributes were given for {len(table)} classes, the host has {len(classnames)}"
        )
    n_attributes = len(table[0])
    for name, attributes in zip(classnames, table, strict=True):
        if len(attributes) != n_attributes:
            raise ConfigError(
                f"class '{name}' has {len(attributes)} attributes, the first class {n_attributes}; "
                "every class needs one word per meta-net"
            )
        empty = [k for k, ids in enumerate(attributes) if not len(ids)]
        if empty:
            raise ConfigError(
                f"class '{name}': attribute {empty[0] + 1} of {n_attributes} has no token"
            )
    return table


def start_meta_nets(
    student: Student, visual_dim: int, options: LorealOptions, seed: int
) -> MetaNets:
    """Return freshly started meta-nets in float32; the start depends on the seed alone.

    Args:
        student: has the attributes and the token embeddings.
        visual_dim: D_v.
    """
    text_dim, words = student.token_weight.shape[-1], student.words
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        nets = MetaNets(
            options.n_attributes, visual_dim, options.hidden_dim, text_dim, options.meta_bias
        )
    if options.meta_init != "default":
        ids = attribute_ids(words, student.tokenize)
        of_words = [[i] for i in ids] if isinstance(words[0], str) else list(zip(*ids, strict=True))
        means = [torch.cat([_rows(student, i) for i in of_k]).mean(0) for of_k in of_words]
        neutral = _rows(student, text_ids(NEUTRAL_WORD, student.tokenize)).mean(0)
        start = torch.stack(means)
        init_meta_nets_(nets, options.meta_init, word_embeddings=start, neutral=neutral)
    return nets.to(student.device)


def _rows(student: Student, ids: Sequence[int]) -> Tensor:
    return student.token_embedding(torch.tensor(list(ids))).float().cpu()
