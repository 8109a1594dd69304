"""The prefix text path: static rows once a class, slot and end rows once an image.

Under causal attention a row depends on the rows before it only, so everything before the first
content has the same keys and values for every image. They are computed once, without gradient; per
image only the suffix (contents, attribute words, end of text) runs through the layers. The result
equals the host's own text encoder on the full prompts.

Where the prompts of all classes begin alike (slots before the class name), the rows up to the first
difference are run once per image instead of once per image and class.

Shapes: B images, C classes of a chunk, P static rows, R common rows, S suffix rows, T rows with
what the host inserted, D = D_t.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from loreal_plugin.errors import ConfigError
from loreal_plugin.method.slots import SplicedPrompts, class_index
from loreal_plugin.text.attention import causal_bias, run_block
from loreal_plugin.text.blocks import TextBlocks
from loreal_plugin.text.chunks import (
    auto_chunk,
    check_chunk,
    memory_share,
    rows_alike,
    run_in_chunks,
)

# Classes whose static rows are run together; bounds the memory of building the keys and values.
_BUILD_CHUNK = 64

# Operations of one block that take as long as a block's fixed cost (launches, masks, joins). They
# steer speed alone and are guesses, 0.15 ms at the speed of one core and of a GPU: not measured.
_PASS_COST = {"cpu": 11_000_000, "cuda": 3_000_000_000}


@dataclass(frozen=True)
class _Layout:
    """Where the rows of every prompt begin and end.

    Attributes:
        begin: (C,) position of the first content.
        end: (C,) position of the end of text.
        n_static: P, rows kept per class, the longest static prefix.
        n_common: R, rows from ``begin`` on that are equal for all classes; 0 unless the static rows
            are too.
        alike: whether all classes have the same static rows.
    """

    begin: Tensor
    end: Tensor
    n_static: int
    n_common: int
    alike: bool


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
        ConfigError: a negative chunk; or a host that overwrites rows where the contents would be.
    """

    def __init__(
        self,
        prompts: SplicedPrompts,
        blocks: TextBlocks,
        chunk: int = 0,
        store_keys: bool | None = None,
        budget: int = 0,
    ) -> None:
        shortest = int(prompts.first_content.min())
        if shortest < blocks.min_static_rows:
            raise ConfigError(
                f"the first slot stands at row {shortest}, but the host overwrites rows up to "
                f"{blocks.min_static_rows - 1} in its deeper layers; use SLOT_ORDER class_first"
            )
        self.prompts = prompts
        self.blocks = blocks
        self.chunk = check_chunk(chunk)
        self.budget = budget
        self._layout = _find_layout(prompts)
        self.store_keys = self._keys_fit() if store_keys is None else store_keys
        self._stored: list[Tensor] | None = None

    def invalidate(self) -> None:
        """Drop the stored keys and values; the next call computes them from the host as it is then."""
        self._stored = None

    def __call__(self, contents: Tensor, classes: slice | Tensor | None = None) -> Tensor:
        """Return text features (B, C', D_v), not normalised, of the contents (B, K, D_t)."""
        contents = self._embedded(contents)
        index = class_index(self.prompts, classes)
        common = self._run_common(contents)
        chunk = self.chunk or self._auto_chunk(index, len(contents), contents.requires_grad)
        n_rows = self._n_rows(index)
        if chunk >= len(index):
            groups = rows_alike(n_rows.tolist(), self._group_cost(index.device))
            if len(groups) == 1:
                return self._run_classes(index, contents, *common)
            order = n_rows.argsort(stable=True)
            parts = [
                self._run_classes(part, contents, *common) for part in index[order].split(groups)
            ]
            features = torch.cat(parts, dim=1)
        else:
            # Classes with equally many rows, static or not, go together: no chunk is padded to the
            # longest.
            order = (n_rows + self.prompts.context_length * self._layout.begin[index]).argsort(
                stable=True
            )
            features = run_in_chunks(self._run_classes, index[order], chunk, (contents, *common))
        return features[:, order.argsort()]

    def pairs(self, contents: Tensor, images: Tensor, classes: Tensor) -> Tensor:
        """Return text features (N, D_v) of N chosen pairs of an image and a class.

        Args:
            contents: (B, K, D_t).
            images: (N,) which contents fill the slots of a pair.
            classes: (N,) whose prompt it is.
        """
        contents = self._embedded(contents)
        common = self._run_common(contents)
        chunk = self.chunk * len(contents) or self._auto_chunk(classes, 1, contents.requires_grad)
        order = self._layout.begin[classes].argsort(stable=True)
        numbers = torch.arange(len(classes), device=classes.device)[order]

        def run(part: Tensor, contents: Tensor, *common: Tensor) -> Tensor:
            return self._run_pairs(images[part], classes[part], contents, common)

        features = run_in_chunks(run, numbers, max(1, chunk), (contents, *common))
        return features[0, order.argsort()]

    def _embedded(self, contents: Tensor) -> Tensor:
        return self.blocks.embed_contents(contents.to(self._dtype))

    def _n_rows(self, classes: Tensor) -> Tensor:
        """Return how many rows (C,) of each class run once an image and class."""
        return (self._layout.end - self._layout.begin)[classes] + 1 - self._layout.n_common

    def _group_cost(self, device: torch.device) -> int:
        """Return what one more pass through the blocks costs, in rows."""
        width = self.blocks.positional_embedding.shape[-1]
        return max(1, _PASS_COST.get(device.type, _PASS_COST["cpu"]) // (24 * width**2))

    def _auto_chunk(self, classes: Tensor, n_images: int, needs_grad: bool) -> int:
        """Return how many of these classes, each with n_images images, fit the budget at once."""
        layout = self._layout
        n_rows = int(self._n_rows(classes).max())
        width, n_layers = self.blocks.positional_embedding.shape[-1], len(self.blocks.layers)
        earlier = n_images * (layout.n_static + layout.n_common)
        return auto_chunk(
            n_images * n_rows, width, n_layers, needs_grad, classes.device, self.budget, earlier
        )

    def _keys_fit(self) -> bool:
        """Say whether the static keys and values of all classes take at most a quarter of the
        budget.
        """
        n_classes = 1 if self._layout.alike else self.prompts.n_classes
        weight = self.blocks.layers[0].attn.in_proj_weight
        per_row = 2 * weight.shape[1] * weight.element_size() * len(self.blocks.layers)
        return n_classes * self._layout.n_static * per_row <= memory_share(
            weight.device, self.budget
        )

    @property
    def _dtype(self) -> torch.dtype:
        return self.blocks.layers[0].attn.in_proj_weight.dtype

    def _run_common(self, contents: Tensor) -> tuple[Tensor, ...]:
        """Return each layer's keys and values (B, 1, R, 2D) of the rows that all classes share; ()
        without any.
        """
        if not self._layout.n_common:
            return ()
        first = torch.zeros(1, dtype=torch.long, device=contents.device)
        position, which = self._row_places(first, 0, self._layout.n_common)
        x = self._filled(first, position, which, contents[:, which.clamp(min=0)])
        past = self._static_keys(first)
        kept = []
        for i in range(len(self.blocks.layers)):
            bias = self._bias(first, past[i].shape[-2], 0, x.shape[2], x.dtype)
            x, keys = run_block(self.blocks, i, x, [past[i][None]], bias)
            kept.append(keys)
        return tuple(kept)

    def _run_classes(self, classes: Tensor, contents: Tensor, *common: Tensor) -> Tensor:
        """Return text features (B, C, D_v) of one chunk of classes."""
        position, which = self._places(classes)
        x = self._filled(classes, position, which, contents[:, which.clamp(min=0)])
        return self._through(classes, x, common)

    def _run_pairs(
        self, images: Tensor, classes: Tensor, contents: Tensor, common: tuple[Tensor, ...]
    ) -> Tensor:
        """Return text features (1, N, D_v): pairs stand where classes stand, with contents of their
        own.
        """
        position, which = self._places(classes)
        x = self._filled(
            classes, position, which, contents[images[:, None], which.clamp(min=0)][None]
        )
        return self._through(classes, x, tuple(keys[images].transpose(0, 1) for keys in common))

    def _places(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return positions and contents' numbers (C, S) of a chunk's rows behind what is common."""
        return self._row_places(classes, self._layout.n_common, int(self._n_rows(classes).max()))

    def _through(self, classes: Tensor, x: Tensor, common: tuple[Tensor, ...]) -> Tensor:
        """Return text features (B, C, D_v) of the suffix rows x (B, C, S, D)."""
        layout = self._layout
        skip = layout.n_common
        past = self._static_keys(classes)
        last = len(self.blocks.layers) - 1
        bias = None
        for i in range(last + 1):
            n_past = past[i].shape[-2]
            if bias is None or n_past != past[i - 1].shape[-2]:
                bias = self._bias(classes, n_past, skip, x.shape[2], x.dtype)
            earlier = [past[i][None], common[i]] if common else [past[i][None]]
            # Of the last layer only the end-of-text row is read.
            read = (layout.end - layout.begin)[classes] - skip if i == last else None
            x, _ = run_block(self.blocks, i, x, earlier, bias, read)
        return self.blocks.finish(x.flatten(0, 2)).unflatten(0, x.shape[:2])

    def _row_places(self, classes: Tensor, skip: int, n_rows: int) -> tuple[Tensor, Tensor]:
        """Return positions (C, n_rows) from ``skip`` rows after the first content on, and the
        number of the content that stands there (negative: none)."""
        prompts = self.prompts
        steps = torch.arange(skip, skip + n_rows, device=classes.device)
        # Classes with a shorter suffix repeat rows of their padding, which no row that counts
        # attends to.
        position = (self._layout.begin[classes, None] + steps).clamp(max=prompts.context_length - 1)
        return position, prompts.source[classes].gather(1, position) - prompts.first_content_source

    def _filled(self, classes: Tensor, position: Tensor, which: Tensor, contents: Tensor) -> Tensor:
        """Return rows (B, C, S, D) with positions; contents (B, C, S, D) stand where ``which``
        names one.
        """
        static = self.prompts.static_rows(classes, position).to(self._dtype)
        rows = torch.where((which >= 0)[..., None], contents, static)
        return rows + self.blocks.positional_embedding.to(self._dtype)[position]

    def _longest(self, classes: Tensor) -> int:
        return int(self._layout.begin[classes].max())

    def _bias(
        self, classes: Tensor, n_past: int, n_common: int, n_rows: int, dtype: torch.dtype
    ) -> Tensor:
        """Return the additive mask (C, S, T + R + S); inserted rows stand before the padding."""
        inserted = n_past - self._longest(classes)
        n_valid = self._layout.begin[classes] + inserted
        return causal_bias(n_valid, n_past, n_common, n_rows, dtype)

    def _static_keys(self, classes: Tensor) -> list[Tensor]:
        """Return each layer's keys and values (C or 1, T, 2D), padded to the longest of these
        classes.
        """
        if self._layout.alike:
            classes = classes[:1] * 0
        if not self.store_keys:
            return self._build_keys(classes, self._longest(classes))
        n_static = self._layout.n_static
        if self._stored is None:
            everything = torch.arange(
                1 if self._layout.alike else self.prompts.n_classes, device=classes.device
            )
            parts = [self._build_keys(part, n_static) for part in everything.split(_BUILD_CHUNK)]
            self._stored = [torch.cat(layer) for layer in zip(*parts, strict=True)]
        unused = n_static - self._longest(classes)
        return [layer[classes, : layer.shape[1] - unused] for layer in self._stored]

    @torch.no_grad()
    def _build_keys(self, classes: Tensor, n_rows: int) -> list[Tensor]:
        # In full precision even under autocast: stored values must not depend on who asks first.
        with torch.autocast(classes.device.type, enabled=False):
            position = self.blocks.positional_embedding[:n_rows].to(self._dtype)
            x = self.prompts.static_rows(classes)[:, :n_rows].to(self._dtype) + position
            kept = []
            for i in range(len(self.blocks.layers)):
                x = self.blocks.enter(i, x).to(self._dtype)
                bias = causal_bias(x.new_zeros(1, dtype=torch.long), 0, 0, x.shape[1], x.dtype)
                y, keys = run_block(self.blocks, i, x[None], [], bias)
                x = y[0]
                kept.append(keys[0])
            return kept


def _find_layout(prompts: SplicedPrompts) -> _Layout:
    begin, end = prompts.first_content, prompts.eot
    n_static = int(begin.max())
    if int(begin.min()) != n_static:
        return _Layout(begin, end, n_static, n_common=0, alike=False)
    everything = torch.arange(prompts.n_classes, device=begin.device)
    first_row, first_source = prompts.static_rows(everything[:1]), prompts.source[:1]
    same = torch.ones(prompts.context_length, dtype=torch.bool, device=begin.device)
    for classes in everything.split(_BUILD_CHUNK):
        source = prompts.source[classes]
        either_content = torch.maximum(source, first_source) >= prompts.first_content_source
        same_value = (prompts.static_rows(classes) == first_row).all(dim=-1)
        same &= torch.where(either_content, source == first_source, same_value).all(dim=0)
    if not same[:n_static].all():
        return _Layout(begin, end, n_static, n_common=0, alike=False)
    # The end of text stays with the classes, which read it.
    n_common = int(same[n_static : int(end.min())].long().cumprod(0).sum())
    return _Layout(begin, end, n_static, n_common, alike=True)
