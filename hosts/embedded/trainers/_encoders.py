"""CLIP's two encoders, opened between their blocks; every method is a change made there.

The encoders take over the modules and parameters of a loaded CLIP under the same names, so that
nothing is copied and state-dict keys stay CLIP's own. Shape legend: N sequences (images or
classes), T tokens, D tower width, D_v joint width, L context length (77).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

Enter = Callable[[int, Tensor], Tensor]
Branch = Callable[[int, Tensor], Tensor | None]


# modules and parameters of CLIP's towers, under CLIP's own names
TEXT_PARTS = ("text_projection", "ln_final", "positional_embedding", "transformer")
IMAGE_PARTS = (
    "conv1",
    "class_embedding",
    "positional_embedding",
    "ln_pre",
    "transformer",
    "ln_post",
    "proj",
)


def _take_over(encoder: nn.Module, tower: nn.Module, names: Iterable[str]) -> None:
    """Make parts of a loaded CLIP attributes of `encoder`: the same objects, the same names."""
    for name in names:
        setattr(encoder, name, getattr(tower, name))


def put_rows(x: Tensor, rows: Tensor, start: int, drop: int) -> Tensor:
    """Return `x` (T, N, D) with `rows` (n, D) in place of its `drop` rows from `start` on."""
    rows = rows.to(x.dtype).unsqueeze(1).expand(-1, x.shape[1], -1)
    return torch.cat([x[:start], rows, x[start + drop :]])


def causal_mask(x: Tensor) -> Tensor:
    """Return the additive mask (T, T) of `x` (T, N, D): a row sees itself and those before."""
    length = x.shape[0]
    return x.new_full((length, length), float("-inf")).triu_(1)


def run_blocks(
    blocks: Iterable[nn.Module],
    x: Tensor,
    *,
    causal: bool,
    enter: Enter | None = None,
    branch: Branch | None = None,
) -> Tensor:
    """Return the output (N, T', D) of CLIP's residual blocks on `x` (N, T, D).

    The mask is made here for the rows at hand, so that blocks keep no mask of another length.

    Args:
        enter: `enter(index, x (T, N, D))` changes the rows before block `index` (counted from 0).
        branch: `branch(index, x (T, N, D))` is computed from the block's input and added to its
            output.
    """
    x = x.permute(1, 0, 2)  # (T, N, D): CLIP's attention is not batch-first
    for index, block in enumerate(blocks):
        x = x if enter is None else enter(index, x)
        extra = None if branch is None else branch(index, x)
        y = block.ln_1(x)
        mask = causal_mask(y) if causal else None
        x = x + block.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        x = x + block.mlp(block.ln_2(x))
        x = x if extra is None else x + extra
    return x.permute(1, 0, 2)


class TextEncoder(nn.Module):
    """CLIP's text tower on prompt embeddings instead of token ids."""

    def __init__(self, clip_model: nn.Module) -> None:
        super().__init__()
        _take_over(self, clip_model, TEXT_PARTS)
        self.dtype = clip_model.dtype

    def forward(self, prompts: Tensor, tokenized_prompts: Tensor) -> Tensor:
        """Return the text features (N, D_v) of `prompts` (N, L, D), `tokenized_prompts` (N, L)."""
        return self.encode(prompts, tokenized_prompts)

    def encode(
        self,
        prompts: Tensor,
        tokenized_prompts: Tensor,
        enter: Enter | None = None,
        branch: Branch | None = None,
        inserted: int = 0,
    ) -> Tensor:
        """Return the text features (N, D_v), with `enter` and `branch` as in `run_blocks`.

        Args:
            inserted: rows that `enter` has put before the end-of-text token by the last block.
        """
        x = prompts + self.positional_embedding.type(self.dtype)
        x = run_blocks(self.transformer.resblocks, x, causal=True, enter=enter, branch=branch)
        x = self.ln_final(x).type(self.dtype)
        # the end-of-text token has the highest id of the vocabulary
        eot = tokenized_prompts.argmax(dim=-1).to(x.device) + inserted
        return x[torch.arange(x.shape[0], device=x.device), eot] @ self.text_projection


def _keep_own_positions(encoder: nn.Module, state: dict[str, Tensor], prefix: str, *_) -> None:
    """Put the encoder's positional embedding into `state` where that has another input size."""
    name = f"{prefix}positional_embedding"
    own = encoder.positional_embedding.data
    if name in state and state[name].shape != own.shape:
        state[name] = own


class ImageEncoder(nn.Module):
    """CLIP's vision transformer with access to its rows; it shares all tensors with `visual`."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        _take_over(self, visual, ("input_resolution", "output_dim", *IMAGE_PARTS))
        self.register_load_state_dict_pre_hook(_keep_own_positions)

    def embed(self, image: Tensor) -> Tensor:
        """Return class token and patches (N, 1 + patches, D) of `image` (N, 3, S, S)."""
        patches = self.conv1(image).flatten(2).transpose(1, 2)
        # not `len`: an export would take it for a number and fix the batch
        first = self.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
        return torch.cat([first, patches], dim=1) + self.positional_embedding.to(patches.dtype)

    def encode(self, x: Tensor, enter: Enter | None = None, branch: Branch | None = None) -> Tensor:
        """Return all rows (N, T', D) after the blocks, for `x` (N, T, D) after `ln_pre`."""
        return run_blocks(self.transformer.resblocks, x, causal=False, enter=enter, branch=branch)

    def project(self, x: Tensor) -> Tensor:
        """Return the image features (N, D_v): the class token of `x` (N, T, D), projected."""
        return self.ln_post(x[:, 0]) @ self.proj


def unit(x: Tensor) -> Tensor:
    """Return `x` (..., D) scaled to length one."""
    return x / x.norm(dim=-1, keepdim=True)
