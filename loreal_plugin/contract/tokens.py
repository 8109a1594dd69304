"""Token ids of class names and attribute words, and where a name starts in its prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.errors import AttributeFileError, HostError

Tokenize = Callable[[str], Tensor]


def text_ids(text: str, tokenize: Tokenize) -> list[int]:
    """Return a text's token ids without start and end."""
    row = tokenize(text).reshape(-1)
    return row[1 : int(row.argmax())].tolist()


def name_ids(classname: str, tokenize: Tokenize) -> list[int]:
    """Return the token ids of a class name as prompts spell it (underscores are spaces)."""
    return text_ids(classname.replace("_", " "), tokenize)


def attribute_ids(words: Sequence[Any], tokenize: Tokenize) -> list[Any]:
    """Return the ids of K attributes, or of K for every class where `words` has a list a class.

    Raises:
        AttributeFileError: an attribute tokenises to nothing.
    """

    def encode(text: str) -> list[int]:
        return text_ids(text, tokenize)

    if words and not isinstance(words[0], str):
        return [tokenise_attributes(list(of_class), encode) for of_class in words]
    return tokenise_attributes(list(words), encode)


def tokenise_attributes(
    words: list[str], encode: Callable[[str], list[int]], source: Any = ""
) -> list[list[int]]:
    """Return the token ids of every attribute's words, without start and end tokens.

    Raises:
        AttributeFileError: an attribute gives no token at all.
    """
    tokens = [list(encode(word)) for word in words]
    for word, ids in zip(words, tokens, strict=True):
        if not ids:
            raise AttributeFileError(
                f"attribute {word!r}{f' of {source}' if source else ''} tokenises to nothing; use"
                " plain words"
            )
    return tokens


def class_starts(tokens: Tensor, classnames: Sequence[str], tokenize: Tokenize) -> Tensor:
    """Return where the class name starts in each row of `tokens` (C, L), as positions (C,).

    The template before the name is the same for all classes, so the start is too: it is the
    position where every class finds its own name, and not after the point where the prompts begin
    to differ. That settles names which occur in the template ("a photo of a photo.").

    Raises:
        HostError: the prompts are not the given classes', or a name is not in its prompt.
    """
    if len(classnames) != tokens.shape[0]:
        raise HostError(
            f"the host made {tokens.shape[0]} prompts for {len(classnames)} class names"
        )
    rows = tokens.cpu()
    differs = (rows != rows[:1]).any(dim=0)
    agree_until = int(differs.float().argmax()) if bool(differs.any()) else rows.shape[1]
    common: set[int] | None = None
    for row, name in zip(rows.tolist(), classnames, strict=True):
        places = _places(row, name_ids(name, tokenize))
        if not places:
            raise HostError(
                f"the tokens of class name '{name}' were looked for in its prompt and not found"
            )
        common = places if common is None else common & places
    candidates = [place for place in common or () if place <= agree_until]
    if not candidates:
        raise HostError(
            "the class names start at different positions of their prompts: no common template"
        )
    return torch.full((len(classnames),), max(candidates), dtype=torch.long)


def _places(row: list[int], ids: list[int]) -> set[int]:
    """Return every position of `row` where `ids` stand.

    A name that ends in punctuation can melt into the template's own ("a.c." + "."): then all but
    its last token count.
    """
    for wanted in (ids, ids[:-1]):
        found = {at for at in range(1, len(row)) if wanted and row[at : at + len(wanted)] == wanted}
        if found:
            return found
    return set()
