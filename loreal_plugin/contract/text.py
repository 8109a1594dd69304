"""The text side of a host: its prompts, its text encoder, and the token ids of names and words.

Shapes: N prompts, B images, C classes, K attributes, L context length, D_t text width, D_v joint
embedding width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from loreal_plugin.contract.facts import HostFacts
from loreal_plugin.errors import AttributeFileError, ConfigError, HostError
from loreal_plugin.plain_output import counted
from loreal_plugin.text.blocks import TextBlocks

# A module that a stranger's code built. Its attributes are known to the rows alone, not to a type.
HostModel: TypeAlias = Any

Tokenize = Callable[[str], Tensor]


@dataclass(frozen=True)
class HostPrompts:
    """The host's own prompts, without gradients."""

    embeddings: Tensor  # (C, L, D_t)
    tokens: Tensor  # (C, L)
    class_start: Tensor  # (C,): position of the first token of the class name


class HostText(HostFacts, ABC):
    """What a row answers about its prompts and its text encoder."""

    @abstractmethod
    def prompt_rows(self, model: HostModel) -> tuple[Tensor, Tensor]:
        """Return the host's prompts as embeddings (C, L, D_t), and their tokens (C, L)."""

    def prompts(
        self, model: HostModel, classnames: Sequence[str], tokenize: Tokenize
    ) -> HostPrompts:
        """Return the host's prompts and where each class name starts, without gradients."""
        with torch.no_grad():
            embeddings, tokens = self.prompt_rows(model)
        tokens = tokens.to(embeddings.device)
        starts = class_starts(tokens, classnames, tokenize).to(embeddings.device)
        return HostPrompts(embeddings.detach().to(model.dtype), tokens, starts)

    @torch.no_grad()
    def token_rows(self, model: HostModel, token_weight: Tensor, ids: Tensor) -> Tensor:
        """Return token ids (...) as rows of the host's prompts, (..., D_t).

        Args:
            token_weight: (vocabulary, D_t) token embeddings of its CLIP, which hosts drop.
        """
        rows = F.embedding(ids.to(token_weight.device), token_weight).to(model.dtype)
        return self.embed_contents(model, rows)

    def embed_contents(self, model: HostModel, rows: Tensor) -> Tensor:
        """Return token embeddings (..., D_t) as the host changes them before its text encoder."""
        return rows

    def prompt_shift(self, model: HostModel, features: Tensor) -> Tensor | None:
        """Return what images add to rows 1..n of the host's prompts, (B, n, D_t); None: nothing.

        `features` (B, F, D_v) are the images' own, of this model, normalised.
        """
        return None

    @abstractmethod
    def encode_text(self, model: HostModel, embeddings: Tensor, tokens: Tensor) -> Tensor:
        """Return text features (N, D_v) of prompts (N, L, D_t) with tokens (N, L), unnormalised."""

    def encode_classes(
        self, model: HostModel, embeddings: Tensor, tokens: Tensor, classes: Tensor
    ) -> Tensor:
        """Return what `encode_text` returns, where each class's prompt has rows of its own.

        `classes` (N,) says which class of the model each prompt is of.
        """
        return self.encode_text(model, embeddings, tokens)

    def text_blocks(self, model: HostModel, cfg: Any) -> TextBlocks:
        """Return the text encoder in pieces, such that the prefix path equals `encode_text`.

        `cfg` is what the model was built from.
        """
        encoder = model.text_encoder
        return TextBlocks(
            positional_embedding=encoder.positional_embedding.detach().type(encoder.dtype),
            layers=list(encoder.transformer.resblocks),
            final_norm=encoder.ln_final,
            projection=encoder.text_projection,
            **self.block_parts(model, cfg),
        )

    def block_parts(self, model: HostModel, cfg: Any) -> dict[str, Any]:
        """Return the fields of `TextBlocks` in which this method differs from plain CLIP."""
        return {}


# ---- token ids -----------------------------------------------------------------------------------


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

    The template before the name is the same for all classes, so the start is the same too. At the
    start every class finds its own name, and up to it all prompts are equal. So a name that occurs
    in the template, too ("a photo of a photo."), is found in the right place.

    Raises:
        HostError: the prompts are not the given classes', or a name is not in its prompt.
    """
    if len(classnames) != tokens.shape[0]:
        raise HostError(
            f"the host made {tokens.shape[0]} prompts for {len(classnames)} class names"
        )
    rows = tokens.cpu()
    differs = (rows != rows[:1]).any(dim=0)
    equal_until = int(differs.float().argmax()) if bool(differs.any()) else rows.shape[1]
    common: set[int] | None = None
    for row, name in zip(rows.tolist(), classnames, strict=True):
        places = name_places(row, name_ids(name, tokenize))
        if not places:
            raise HostError(
                f"the tokens of class name '{name}' were looked for in its prompt and not found"
            )
        common = places if common is None else common & places
    candidates = [place for place in common or () if place <= equal_until]
    if not candidates:
        raise HostError(
            "the class names start at different positions of their prompts; all prompts must have"
            " the same words before the class name"
        )
    return torch.full((len(classnames),), max(candidates), dtype=torch.long)


def name_places(row: list[int], ids: list[int]) -> set[int]:
    """Return every position of `row`, from 1 on, where the ids of a class name stand.

    The end of a name and the template's period can become one token ("a.c." + "."): then all but
    the name's last token count.
    """
    for wanted in (ids, ids[:-1]):
        found = {at for at in range(1, len(row)) if wanted and row[at : at + len(wanted)] == wanted}
        if found:
            return found
    return set()


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
            f"attributes were given for {counted(len(table), 'class')}, the host has"
            f" {len(classnames)}"
        )
    n_attributes = len(table[0])
    for name, attributes in zip(classnames, table, strict=True):
        if len(attributes) != n_attributes:
            raise ConfigError(
                f"class '{name}' has {counted(len(attributes), 'attribute')}, the first class"
                f" {n_attributes}; every class needs one word per meta-net"
            )
        empty = [k for k, ids in enumerate(attributes) if not len(ids)]
        if empty:
            raise ConfigError(
                f"class '{name}': attribute {empty[0] + 1} of {n_attributes} has no token"
            )
    return table
