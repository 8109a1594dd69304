"""Splicing attribute slots into the prompts a host made, by token position.

Shapes: C classes, K attributes, M content tokens per slot, L context length, D_t text width.

A spliced prompt is a list of *sources*, one a row. They index a bank of rows that each class has:

    [ L rows of the host's own prompt | W word embeddings | K contents ]

So host rows (learned contexts included) are used as they are, and a content is one row of the bank
however often it is repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.errors import ConfigError, unknown_name

# Where the slots go: "with" and the slots before the final period (or the end of text where the
# prompt has none); right after the start token; where the class name starts.
SLOT_ORDERS = ("class_first", "slots_first", "ctx_first")

# Ids at content positions: 0 is an ordinary token, so argmax over ids still finds the end of text.
CONTENT_TOKEN = 0


@dataclass(frozen=True)
class SplicedPrompts:
    """The prompts of C classes with their slots; made by `splice_slots`.

    Attributes:
        host_embeddings: (C, L, D_t) rows of the host's own prompts.
        word_embeddings: (W, D_t) rows of attribute words and of "with".
        source: (C, L) index of each row in the bank [L host rows | W word rows | K content rows].
        tokens: (C, L) ids of the spliced prompts; `tokens.argmax(-1)` is the end of text.
        eot: (C,) position of the end of text.
        first_content: (C,) number of rows before the first content, the same for every image.
        n_attributes: K.
        n_content: M.
    """

    host_embeddings: Tensor
    word_embeddings: Tensor
    source: Tensor
    tokens: Tensor
    eot: Tensor
    first_content: Tensor
    n_attributes: int
    n_content: int

    @property
    def n_classes(self) -> int:
        """C."""
        return self.source.shape[0]

    @property
    def context_length(self) -> int:
        """L."""
        return self.source.shape[1]

    @property
    def first_content_source(self) -> int:
        """Sources from here on are contents; below are rows that are the same for every image."""
        return self.context_length + self.word_embeddings.shape[0]

    def static_rows(self, classes: Tensor, position: Tensor | None = None) -> Tensor:
        """Return rows (C', R, D_t) of some classes, with zeros where the contents go.

        Args:
            classes: (C',) class indices.
            position: (C', R) which rows; None = all L.
        """
        source = self.source[classes]
        if position is not None:
            source = source.gather(1, position)
        length = self.context_length
        # Each table is read at clamped indices; `where` then takes the value of the right one.
        host = self.host_embeddings[classes[:, None], source.clamp(max=length - 1)]
        n_words = self.word_embeddings.shape[0]
        words = self.word_embeddings[(source - length).clamp(0, n_words - 1)]
        rows = torch.where((source < length)[..., None], host, words)
        return rows.masked_fill((source >= self.first_content_source)[..., None], 0)

    def to(self, device: torch.device | str) -> SplicedPrompts:
        """Return the same prompts with all tensors on a device."""
        moved: dict[str, Any] = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def splice_slots(
    host_embeddings: Tensor,
    tokens: Tensor,
    *,
    attribute_tokens: Sequence[Sequence[Sequence[int]]],
    embed: Callable[[Tensor], Tensor],
    n_content: int,
    order: str,
    class_start: Tensor,
    with_token: int,
    period_token: int,
    classnames: Sequence[str],
    words: bool = True,
    contents: bool = True,
) -> SplicedPrompts:
    """Return the host's prompts with K slots `S_k [A_k]` spliced in; see `SLOT_ORDERS`.

    Args:
        host_embeddings: (C, L, D_t) token embeddings of the host's prompts, without positions.
        tokens: (C, L) their ids; the end of text is the highest id of a row.
        attribute_tokens: ids of each attribute's words: C lists of K lists.
        embed: token embedding of the host's CLIP, ids (N,) -> (N, D_t).
        n_content: M, positions that repeat a content.
        class_start: (C,) position of the class name's first token (used by `ctx_first`).
        with_token, period_token: ids of "with" and ".".
        classnames: C names, for messages.
        words, contents: False leaves the attribute words, or the contents, out (ablations).

    Raises:
        ConfigError: unknown order; M < 1; a prompt that would not fit into L tokens.
    """
    _check(order, n_content)
    n_attributes, length = len(attribute_tokens[0]), tokens.shape[1]
    used = {token for attributes in attribute_tokens for ids in attributes for token in ids}
    vocabulary = torch.tensor(sorted(used | {with_token}))
    # A row is (source, token id). In the bank, words follow the L host rows, contents come last.
    word_rows = {token: (length + i, token) for i, token in enumerate(vocabulary.tolist())}
    content_source = length + len(vocabulary)
    lead = [word_rows[with_token]] if _has_lead(order, words, contents) else []
    used_words, times = word_rows if words else {}, n_content if contents else 0
    rows = [lead + _slot_rows(a, used_words, content_source, times) for a in attribute_tokens]
    places = _places(tokens, order, class_start, period_token)
    source, ids, eot = _spliced(tokens, rows, places, classnames, n_attributes)
    with torch.no_grad():
        embedded = embed(vocabulary.to(host_embeddings.device)).to(host_embeddings)
    # Without contents every row up to the end of text is static.
    first = (source >= content_source).long().argmax(dim=-1) if contents else eot
    sizes = n_attributes, n_content
    prompts = SplicedPrompts(host_embeddings, embedded, source, ids, eot, first, *sizes)
    return prompts.to(host_embeddings.device)


def slot_length(
    attributes: Sequence[Sequence[int]], *, order: str, n_content: int, words: bool, contents: bool
) -> int:
    """Return how many tokens the slots of one class add; arguments as in `splice_slots`."""
    rows = sum((n_content if contents else 0) + (len(ids) if words else 0) for ids in attributes)
    return int(_has_lead(order, words, contents)) + rows


def check_length(classname: str, n_slots: int, n_tokens: int, length: int) -> None:
    """Raise ConfigError where `n_tokens` (start and end included) are more than `length`."""
    if n_tokens > length:
        raise ConfigError(
            f"class '{classname}': its prompt with {n_slots} slots takes {n_tokens} tokens, the"
            f" text encoder reads {length}; use fewer attributes, shorter words, a shorter class"
            " name or a smaller N_CONTENT"
        )


def _has_lead(order: str, words: bool, contents: bool) -> bool:
    """Return whether "with" stands before the slots."""
    return order == "class_first" and (words or contents)


def _check(order: str, n_content: int) -> None:
    """Raise ConfigError on an unknown order or no content token."""
    if order not in SLOT_ORDERS:
        raise ConfigError(unknown_name("SLOT_ORDER", order, SLOT_ORDERS))
    if n_content < 1:
        raise ConfigError(f"N_CONTENT must be at least 1, got {n_content}")


def _slot_rows(
    attributes: Sequence[Sequence[int]],
    word_rows: Mapping[int, tuple[int, int]],
    source: int,
    times: int,
) -> list[tuple[int, int]]:
    """Return the rows of K slots: each content `times` times, then its attribute's words.

    Args:
        attributes: ids of each attribute's words.
        word_rows: row of a word by its id; empty leaves the words out.
        source: index of the first content in the bank.
    """
    rows = []
    for k, ids in enumerate(attributes):
        rows += [(source + k, CONTENT_TOKEN)] * times
        rows += [word_rows[token] for token in ids if token in word_rows]
    return rows


def _places(tokens: Tensor, order: str, class_start: Tensor, period_token: int) -> list[int]:
    """Return for each class the position before which its slots go."""
    if order == "slots_first":
        return [1] * len(tokens)
    if order == "ctx_first":
        return class_start.tolist()
    ends = tokens.argmax(dim=-1).tolist()
    return [
        end - (ids[end - 1] == period_token) for end, ids in zip(ends, tokens.tolist(), strict=True)
    ]


def _spliced(
    tokens: Tensor,
    rows: Sequence[list[tuple[int, int]]],
    places: Sequence[int],
    classnames: Sequence[str],
    n_attributes: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return source (C, L), ids (C, L) and end of text (C,) with `rows` put in at `places`."""
    length = tokens.shape[1]
    spliced: list[list[tuple[int, int]]] = []
    eot: list[int] = []
    for c, end in enumerate(tokens.argmax(dim=-1).tolist()):
        n_tokens = end + 1 + len(rows[c])
        check_length(classnames[c], n_attributes, n_tokens, length)
        host_rows, at = list(enumerate(tokens[c].tolist())), places[c]
        spliced.append((host_rows[:at] + rows[c] + host_rows[at:])[:length])
        eot.append(n_tokens - 1)
    table = torch.tensor(spliced)  # (C, L, 2)
    return table[..., 0], table[..., 1], torch.tensor(eot)


def class_index(prompts: SplicedPrompts, classes: slice | Tensor | None) -> Tensor:
    """Return the chosen classes as an index tensor (C',) on the prompts' device."""
    everything = torch.arange(prompts.n_classes, device=prompts.source.device)
    return everything if classes is None else everything[classes]
