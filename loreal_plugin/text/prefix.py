"""The prefix text path: static rows once a class, slot and end rows once an image.

Under causal attention a row depends on the rows before it only. So everything before the first
content has the same keys and values for every image: they are computed once, without gradient. Per
image only the suffix (contents, attribute words, end of text) runs through the layers. The result
equals the host's own text encoder on the full prompts.

    prompt:   start ctx CLASS with | S_1 S_1 color S_2 S_2 shape . end | padding
              static, kept as keys | suffix, runs once an image        | never runs

With slots before the class name, the prompts of all classes begin alike. Their rows up to the first
difference, the common rows, run once per image instead of once per image and class.

Shapes: B images, C classes of a chunk, P static rows, R common rows, S suffix rows, T rows with
what the host inserted, D = D_t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from loreal_plugin.errors import ConfigError
from loreal_plugin.method.slots import SplicedPrompts, class_index
from loreal_plugin.text.blocks import (
    TextBlocks,
    auto_chunk,
    causal_bias,
    keys_fit,
    run_block,
    run_static,
)
from loreal_plugin.text.chunks import run_in_chunks, split_by_length

# Classes whose static rows are run together; bounds the memory of building their keys and values.
BUILD_CHUNK = 64

# Of each group that runs at once: classes, rows where kept; then the index that restores order.
Groups: TypeAlias = tuple[list[tuple[Tensor, "Rows | None"]], Tensor]


@dataclass(frozen=True)
class Rows:
    """Rows of C classes as they are before any image is known.

    Attributes:
        position: (C, S) where a row stands in its prompt.
        which: (C, S) number of the content that stands there; negative: none.
        static: (C, S, D) the rows with their positions; zeros and position where a content goes.
    """

    position: Tensor
    which: Tensor
    static: Tensor


class PrefixTextPath:
    """Text features with keys and values of the static rows kept per class.

    Args:
        prompts: C spliced prompts.
        blocks: the host's text transformer.
        chunk: classes per pass; 0 = as many as the budget holds.
        store_keys: keep the static keys and values (about 0.5 MB a class at CLIP's text size in
            float32); False computes them again for every chunk; None keeps them where they fit a
            part of the budget.
        budget: bytes that activations may take; 0 = a fixed number for the device.

    Raises:
        ConfigError: the host overwrites rows where the contents would be.
    """

    def __init__(
        self,
        prompts: SplicedPrompts,
        blocks: TextBlocks,
        chunk: int = 0,
        store_keys: bool | None = None,
        budget: int = 0,
    ) -> None:
        self._begin, self._end = prompts.first_content, prompts.eot  # (C,) both, of the suffix
        if (first := int(self._begin.min())) < blocks.min_static_rows:
            raise ConfigError(
                f"the first slot stands at row {first}, but the host overwrites rows up to"
                f" {blocks.min_static_rows - 1} in its deeper layers; use SLOT_ORDER class_first"
            )
        self.prompts, self.blocks, self.chunk, self.budget = prompts, blocks, chunk, budget
        self._n_static = int(self._begin.max())  # P
        # A host that puts other rows into each class's prompt leaves nothing that classes share.
        common = None if blocks.enter_class is not None else common_rows(prompts)
        self._same_static, self._n_common = common is not None, common or 0
        n_stored = self._n_static * (1 if self._same_static else prompts.n_classes)
        self.store_keys = keys_fit(blocks, n_stored, budget) if store_keys is None else store_keys
        self.invalidate()

    def invalidate(self) -> None:
        """Drop what is stored; the next call computes it from the host as it is then."""
        self._stored: list[Tensor] | None = None
        self._all_groups: Groups | None = None
        self._chunks: dict[tuple[int, bool], int] = {}

    def __call__(self, contents: Tensor, classes: slice | Tensor | None = None) -> Tensor:
        """Return text features (B, C', D_v), not normalised, of the contents (B, K, D_t)."""
        contents = self._embedded(contents)
        inputs = (contents, *self._run_common(contents))
        chunk = self._chunk_for(classes, len(contents), contents.requires_grad)
        if chunk:
            index = class_index(self.prompts, classes)
            # Sorted by static rows first, then by suffix rows: a chunk is padded little.
            length = self._n_rows(index) + self.prompts.context_length * self._begin[index]
            return run_in_chunks(self._run_classes, index, chunk, inputs, length)
        groups, order = self._groups(classes)
        features = [self._run_classes(part, *inputs, rows=rows) for part, rows in groups]
        return features[0] if len(features) == 1 else torch.cat(features, dim=1)[:, order]

    def pairs(self, contents: Tensor, images: Tensor, classes: Tensor) -> Tensor:
        """Return text features (N, D_v) of N chosen pairs of an image and a class.

        Args:
            contents: (B, K, D_t).
            images: (N,) which contents fill the slots of a pair.
            classes: (N,) whose prompt it is.
        """
        contents = self._embedded(contents)
        inputs = (contents, *self._run_common(contents))
        chunk = self.chunk * len(contents) or self._auto_chunk(classes, 1, contents.requires_grad)

        def run(part: Tensor, *inputs: Tensor) -> Tensor:
            return self._run_classes(classes[part], *inputs, images=images[part])

        numbers = torch.arange(len(classes), device=classes.device)
        return run_in_chunks(run, numbers, max(1, chunk), inputs, self._begin[classes])[0]

    # ---- what runs together ----------------------------------------------------------------------

    def _chunk_for(self, classes: slice | Tensor | None, n_images: int, needs_grad: bool) -> int:
        """Return how many classes run at once; 0: all of those that were asked for."""
        key = (n_images, needs_grad)
        if classes is None and key in self._chunks:
            return self._chunks[key]
        index = class_index(self.prompts, classes)
        chunk = self.chunk or self._auto_chunk(index, n_images, needs_grad)
        chunk = chunk if chunk < len(index) else 0
        if classes is None:
            self._chunks[key] = chunk
        return chunk

    def _groups(self, classes: slice | Tensor | None) -> Groups:
        """Return the groups in which classes run at once; those of all classes are kept."""
        if classes is None and self._all_groups is not None:
            return self._all_groups
        index = class_index(self.prompts, classes)
        n_rows = self._n_rows(index)
        parts: tuple[Tensor, ...] = (torch.arange(len(index), device=index.device),)
        if int(n_rows.min()) != int(n_rows.max()):
            parts = split_by_length(n_rows, self.blocks.positional_embedding)
        keep = classes is None and self.store_keys
        groups = [(index[part], self._rows(index[part]) if keep else None) for part in parts]
        found = groups, torch.cat(parts).argsort()
        if classes is None:
            self._all_groups = found
        return found

    def _auto_chunk(self, classes: Tensor, n_images: int, needs_grad: bool) -> int:
        """Return how many of these classes, each with n_images images, fit the budget at once."""
        rows, n_layers = n_images * int(self._n_rows(classes).max()), len(self.blocks.layers)
        width = self.blocks.positional_embedding.shape[-1]
        earlier = n_images * (self._n_static + self._n_common)
        return auto_chunk(rows, width, n_layers, needs_grad, classes.device, self.budget, earlier)

    # ---- rows through the blocks -----------------------------------------------------------------

    def _embedded(self, contents: Tensor) -> Tensor:
        """Return contents in the blocks' type, changed as the host changes token embeddings."""
        change = self.blocks.embed_contents
        contents = contents.to(self.blocks.dtype)
        return contents if change is None else change(contents)

    def _n_rows(self, classes: Tensor) -> Tensor:
        """Return how many rows (C,) of each class run once an image and class."""
        return (self._end - self._begin)[classes] + 1 - self._n_common

    def _rows(self, classes: Tensor, *, common: bool = False) -> Rows:
        """Return the common rows, or those behind them: as many per class as the longest has."""
        prompts, dtype = self.prompts, self.blocks.dtype
        skip = 0 if common else self._n_common
        n_rows = self._n_common if common else int(self._n_rows(classes).max())
        steps = torch.arange(skip, skip + n_rows, device=classes.device)
        # Classes with a shorter suffix repeat rows of their padding, which no row that counts
        # attends to.
        position = (self._begin[classes, None] + steps).clamp(max=prompts.context_length - 1)
        source = prompts.source[classes].gather(1, position)  # (C, S)
        static = prompts.static_rows(classes, position).to(dtype)  # (C, S, D)
        placed = static + self.blocks.positional_embedding.to(dtype)[position]
        return Rows(position, source - prompts.first_content_source, placed)

    def _filled(self, rows: Rows, contents: Tensor) -> Tensor:
        """Return rows (B, C, S, D) in which contents (B, C, S, D) stand where a slot has one."""
        placed = contents + self.blocks.positional_embedding.to(rows.static)[rows.position]
        return torch.where((rows.which >= 0)[..., None], placed, rows.static)

    def _run_common(self, contents: Tensor) -> Sequence[Tensor]:
        """Return each layer's keys and values (B, 1, R, 2D) of the common rows; () without any."""
        if not self._n_common:
            return ()
        first = torch.zeros(1, dtype=torch.long, device=contents.device)
        rows = self._rows(first, common=True)
        x = self._filled(rows, contents[:, rows.which.clamp(min=0)])  # (B, 1, R, D)
        return self._through(first, x)[1]

    def _run_classes(
        self,
        classes: Tensor,
        contents: Tensor,
        *common: Tensor,
        rows: Rows | None = None,
        images: Tensor | None = None,
    ) -> Tensor:
        """Return text features (B, C, D_v) of classes that run at once.

        With `images` (C,) each class has the contents of one image: (1, C, D_v).
        """
        rows = rows or self._rows(classes)
        which = rows.which.clamp(min=0)
        if images is None:
            filled = contents[:, which]  # (B, C, S, D)
        else:
            filled = contents[images[:, None], which][None]  # (1, C, S, D)
            common = tuple(kv[images].transpose(0, 1) for kv in common)  # each (1, C, R, 2D)
        # Of the last layer only the end-of-text row is read.
        read = (self._end - self._begin)[classes] - self._n_common
        x, _ = self._through(classes, self._filled(rows, filled), common, read)
        # (B, C, 1, D) -> (B * C, D) -> (B * C, D_v) -> (B, C, D_v)
        return self.blocks.finish(x.flatten(0, 2)).unflatten(0, x.shape[:2])

    def _through(
        self, classes: Tensor, x: Tensor, common: Sequence[Tensor] = (), read: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the last block's output for rows x (B, C, S, D), and each layer's keys and values.

        With `read` (C,): of that row of each class alone, (B, C, 1, D), and no keys and values.
        """
        past, n_common = self._static_keys(classes), common[0].shape[2] if common else 0
        begin = self._begin[classes]
        stored, bias = [], None
        for i, static in enumerate(past):
            n_past = static.shape[-2]
            if bias is None or n_past != past[i - 1].shape[-2]:  # MMRL inserts rows on the way
                n_valid = begin + n_past - int(begin.max())  # inserted rows precede the padding
                bias = causal_bias(n_valid, n_past, n_common, x.shape[2], x.dtype)
            last = i == len(past) - 1
            earlier = [static[None], *common[i : i + 1]]
            x, kv = run_block(self.blocks, i, x, earlier, bias, read if last else None)
            if read is None:
                stored.append(kv)
        return x, stored

    # ---- static keys and values ------------------------------------------------------------------

    def _static_keys(self, classes: Tensor) -> list[Tensor]:
        """Return each layer's keys and values (C or 1, T, 2D), padded to the longest class."""
        if self._same_static:
            classes = classes[:1] * 0  # class 0 stands for all
        longest = int(self._begin[classes].max())
        if not self.store_keys:
            return run_static(self.blocks, self.prompts, classes, longest)
        n_static = self._n_static
        if self._stored is None:
            n_classes = 1 if self._same_static else self.prompts.n_classes
            everything = torch.arange(n_classes, device=classes.device).split(BUILD_CHUNK)
            parts = [run_static(self.blocks, self.prompts, part, n_static) for part in everything]
            self._stored = [torch.cat(layer) for layer in zip(*parts, strict=True)]
        unused = n_static - longest
        return [layer[classes, : layer.shape[1] - unused] for layer in self._stored]


def common_rows(prompts: SplicedPrompts) -> int | None:
    """Return how many rows from the first content on are equal for all classes.

    None where their static rows differ, so that nothing behind these can be shared.
    """
    n_static = int(prompts.first_content.max())
    if int(prompts.first_content.min()) != n_static:
        return None
    everything = torch.arange(prompts.n_classes, device=prompts.source.device)
    first_row, first_source = prompts.static_rows(everything[:1]), prompts.source[:1]
    same = torch.ones(prompts.context_length, dtype=torch.bool, device=everything.device)
    for classes in everything.split(BUILD_CHUNK):
        source = prompts.source[classes]
        either_content = torch.maximum(source, first_source) >= prompts.first_content_source
        same_value = (prompts.static_rows(classes) == first_row).all(dim=-1)
        same &= torch.where(either_content, source == first_source, same_value).all(dim=0)
    if not same[:n_static].all():
        return None
    # The end of text stays with the classes, which read it.
    return int(same[n_static : int(prompts.eot.min())].long().cumprod(0).sum())
