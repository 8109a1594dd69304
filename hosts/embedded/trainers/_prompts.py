"""Prompts as text, token ids and embeddings.

Shape legend: C classes, L context length (77), D_t text width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainers._clip import clip
from trainers._plugin import DEFAULT_TEMPLATE, ConfigError
from trainers._plugin import TEMPLATES as CUSTOM_TEMPLATES


def spoken(classnames: Sequence[str]) -> list[str]:
    """Return the class names with spaces where files and splits have underscores."""
    return [name.replace("_", " ") for name in classnames]


def token_count(words: str) -> int:
    """Return how many tokens CLIP makes of `words`, start and end not counted."""
    return len(clip.clip._tokenizer.encode(words))


def tokenize(prompts: Sequence[str]) -> Tensor:
    """Return the token ids of `prompts`, (C, L).

    Raises:
        ConfigError: a prompt is longer than CLIP's context; it is named with its length.
    """
    try:
        return clip.tokenize(list(prompts))
    except RuntimeError as error:
        longest = max(prompts, key=token_count)
        raise ConfigError(
            f"the prompt '{longest}' has {token_count(longest) + 2} tokens, CLIP takes 77; "
            "shorten the context or the class name"
        ) from error


@torch.no_grad()
def embed_tokens(clip_model: nn.Module, tokens: Tensor) -> Tensor:
    """Return the embeddings (..., D_t) of `tokens` in CLIP's compute type."""
    return clip_model.token_embedding(tokens).type(clip_model.dtype)


def template_prompts(dataset: str, classnames: Sequence[str]) -> list[str]:
    """Return one fixed prompt a class, in the words that CLIP's authors use for `dataset`."""
    template = CUSTOM_TEMPLATES.get(dataset, DEFAULT_TEMPLATE)
    return [template.format(name) for name in spoken(classnames)]


def context_vectors(words: str, n_ctx: int, clip_model: nn.Module) -> tuple[Tensor, str]:
    """Return a start for `n_ctx` learned tokens, (n_ctx, D_t), and their text in the prompt.

    With `words`, the vectors are those of its first `n_ctx` tokens (any further words stay fixed in
    the prompt); without, they are random and the text is `X X ...`.

    Raises:
        ConfigError: `words` has fewer than `n_ctx` tokens.
    """
    words = words.replace("_", " ").strip()
    if not words:
        width = clip_model.ln_final.weight.shape[0]
        return torch.empty(n_ctx, width).normal_(std=0.02), " ".join(["X"] * n_ctx)
    if token_count(words) < n_ctx:
        raise ConfigError(
            f"N_CTX is {n_ctx}, but CTX_INIT '{words}' has {token_count(words)} tokens; "
            "lower N_CTX, lengthen CTX_INIT, or leave it empty for a random start"
        )
    return embed_tokens(clip_model, tokenize([words]))[0, 1 : 1 + n_ctx].float(), words
