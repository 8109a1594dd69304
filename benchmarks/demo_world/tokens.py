"""The rows of CLIP's vocabulary that the demonstration CLIP has learned.

Pre-training uses a *compact* vocabulary: the trained token ids in ascending order. The order is
kept, so the end-of-text token is the largest compact id as it is the largest id of CLIP's own
vocabulary, and CLIP's `text.argmax(-1)` finds it in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from benchmarks.demo_world import captions
from loreal_plugin.demo.world import NAMES
from loreal_plugin.weights import import_clip

START, END = 49406, 49407
CONTEXT_LENGTH = 77


class TokenTable:
    """Maps words to token ids and to compact ids."""

    def __init__(self, words: dict[str, int]) -> None:
        self.words = words
        self.token_ids = sorted({*words.values(), START, END})
        compact = {token: row for row, token in enumerate(self.token_ids)}
        self.start, self.end = compact[START], compact[END]
        self._compact = {word: compact[token] for word, token in words.items()}

    def __len__(self) -> int:
        return len(self.token_ids)

    def encode(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """Returns compact ids (N, L), L being as short as the longest text allows; padding is 0.

        Raises:
            ValueError: if a text does not fit into CLIP's context of 77 tokens.
        """
        longest = max(len(text) for text in texts) + 2
        if longest > CONTEXT_LENGTH:
            raise ValueError(
                f"a caption has {longest} tokens, CLIP's context holds {CONTEXT_LENGTH}"
            )
        rows = torch.zeros(len(texts), longest, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            ids = [self.start, *(self._compact[word] for word in text), self.end]
            row[: len(ids)] = torch.tensor(ids)
        return rows

    def encode_full(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """Returns ids (N, L) of CLIP's vocabulary; what follows the end-of-text is arbitrary."""
        return torch.tensor(self.token_ids)[self.encode(texts)]


@lru_cache(maxsize=4)
def token_table(class_names: tuple[str, ...] = NAMES) -> TokenTable:
    """Returns the table of all caption words.

    Raises:
        ValueError: if a word is not exactly one token of CLIP's tokenizer.
    """
    import_clip()
    from clip.simple_tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    words = {word: tokenizer.encode(word) for word in captions.vocabulary(class_names)}
    split = [word for word, ids in words.items() if len(ids) != 1]
    if split:
        raise ValueError(
            f"not one token each in CLIP's vocabulary: {', '.join(split)}; choose other words"
        )
    return TokenTable({word: ids[0] for word, ids in words.items()})
