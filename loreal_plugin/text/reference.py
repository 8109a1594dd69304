"""The reference text path: the host's own text encoder on full prompts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from loreal_plugin.method.slots import SplicedPrompts, class_index
from loreal_plugin.text.blocks import auto_chunk
from loreal_plugin.text.chunks import run_in_chunks

# The encoder is a black box here; CLIP's text transformers have this many layers.
_ASSUMED_LAYERS = 12


class ReferenceTextPath:
    """Text features from full prompts, one pass of the host's text encoder per image and class.

    Args:
        prompts: C spliced prompts.
        encode: ``(embeddings (N, L, D_t), tokens (N, L)) -> (N, D_v)``, the host's text encoder.
        chunk: classes per pass; 0 = as many as the budget holds.
        embed_contents: change of raw contents that the prompts' rows already had, see
            ``TextBlocks``.
        budget: bytes that activations may take; 0 = a fixed number for the device.
        by_class: `encode` takes a third argument, which class (N,) each prompt is of.
    """

    def __init__(
        self,
        prompts: SplicedPrompts,
        encode: Callable[..., Tensor],
        chunk: int = 0,
        embed_contents: Callable[[Tensor], Tensor] | None = None,
        budget: int = 0,
        *,
        by_class: bool = False,
    ) -> None:
        self.prompts = prompts
        self.encode = encode if by_class else lambda rows, tokens, _: encode(rows, tokens)
        self.chunk = chunk
        self.embed_contents = embed_contents
        self.budget = budget

    def __call__(
        self, contents: Tensor, classes: slice | Tensor | None = None, shift: Tensor | None = None
    ) -> Tensor:
        """Return text features (B, C', D_v), not normalised, of the contents (B, K, D_t).

        `shift` (B, n, D_t) is what each image adds to rows 1..n of the host's own prompts (CoCoOp).
        """
        contents = self._embedded(contents)
        index = class_index(self.prompts, classes)
        chunk = self.chunk or self._auto_chunk(contents, n_images=len(contents))
        inputs = (contents,) if shift is None else (contents, shift)
        return run_in_chunks(self._run, index, chunk, inputs)

    def _embedded(self, contents: Tensor) -> Tensor:
        """Return contents changed as the host changes token embeddings."""
        if self.embed_contents is None:
            return contents
        return self.embed_contents(contents.to(self.prompts.host_embeddings.dtype))

    def _auto_chunk(self, contents: Tensor, n_images: int) -> int:
        """Return how many classes, each with n_images images, fit the budget at once."""
        _, length, width = self.prompts.host_embeddings.shape
        grad, device = contents.requires_grad, self.prompts.source.device
        return auto_chunk(n_images * length, width, _ASSUMED_LAYERS, grad, device, self.budget)

    def _run(self, classes: Tensor, contents: Tensor, shift: Tensor | None = None) -> Tensor:
        """Return text features (B, C', D_v) of a chunk of classes."""
        full = materialise(self.prompts, contents, classes, shift)
        tokens = self.prompts.tokens[classes].expand(len(contents), -1, -1)
        which = classes.repeat(len(contents))
        encoded = self.encode(full.flatten(0, 1), tokens.flatten(0, 1), which)
        return encoded.unflatten(0, full.shape[:2])

    def pairs(self, contents: Tensor, images: Tensor, classes: Tensor) -> Tensor:
        """Return text features (N, D_v) of N (image, class) pairs; see `PrefixTextPath.pairs`."""
        contents = self._embedded(contents)
        chunk = self.chunk * len(contents) or self._auto_chunk(contents, n_images=1)

        def run(part: Tensor, contents: Tensor) -> Tensor:
            which = self.prompts.source[classes[part]] - self.prompts.first_content_source
            static = self.prompts.static_rows(classes[part])
            filled = contents.to(static.dtype)[images[part][:, None], which.clamp(min=0)]
            full = torch.where((which >= 0)[..., None], filled, static)
            return self.encode(full, self.prompts.tokens[classes[part]], classes[part])[None]

        numbers = torch.arange(len(classes), device=classes.device)
        return run_in_chunks(run, numbers, max(1, chunk), (contents,))[0]


def materialise(
    prompts: SplicedPrompts,
    contents: Tensor,
    classes: slice | Tensor | None = None,
    shift: Tensor | None = None,
) -> Tensor:
    """Return full prompt embeddings (B, C', L, D_t), differentiable with respect to the contents.

    Args:
        prompts: C spliced prompts.
        contents: (B, K, D_t); cast to the dtype of the prompts.
        classes: which classes; None = all.
        shift: (B, n, D_t) what each image adds to rows 1..n of the host's own prompts, wherever
            these stand now.
    """
    index = class_index(prompts, classes)
    static = prompts.static_rows(index)
    which = prompts.source[index] - prompts.first_content_source
    filled = contents.to(static.dtype)[:, which.clamp(min=0)]
    if shift is not None:
        # Sources below L are rows of the host's prompt: row 1 takes the first row of the shift.
        row = prompts.source[index] - 1
        n_rows = shift.shape[1]
        added = shift.to(static.dtype)[:, row.clamp(0, n_rows - 1)]  # (B, C', L, D_t)
        static = torch.where(
            ((row >= 0) & (row < n_rows))[None, :, :, None], static + added, static
        )
    return torch.where((which >= 0)[None, :, :, None], filled, static)
