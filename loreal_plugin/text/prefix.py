"""The prefix text path: static rows once a class, slot and end rows once an image.

Under causal attention a row depends on the rows before it only, so everything before the first content
has the same keys and values for every image. They are computed once, without gradient; per image only the
suffix (contents, attribute words, end of text) runs through the layers. The result equals the host's own
text encoder on the full prompts.

Where the prompts of all classes begin alike (slots before the class name), the rows up to the first
difference are run once per image instead of once per image and class.

Shapes: B images, C classes of a chunk, P static rows, R common rows, S suffix rows, T rows with what the
host inserted, D = D_t.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from loreal_plugin.errors import ConfigError
from loreal_plugin.method.slots import SplicedPrompts, class_index
from loreal_plugin.text.attention import causal_bias, run_block
from loreal_plugin.text.blocks import TextBlocks
from loreal_plugin.text.chunks import auto_chunk, check_chunk, run_in_chunks

# Classes whose static rows are run together; bounds the memory of building the keys and values.
_BUILD_CHUNK = 64


@dataclass(frozen=True)
class _Layout:
    """Where the rows of every prompt begin and end.

    Attributes:
        begin: (C,) position of the first content.
        end: (C,) position of the end of text.
        n_static: P, rows kept per class, the longest static prefix.
        n_common: R, rows from ``begin`` on that are equal for all classes; 0 unless the static rows are too.
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
        chunk: classes per pass; 0 = automatic.
        store_keys: keep the static keys and values (about 0.5 MB a class at CLIP's text size in float32);
            False computes them again for every chunk.

    Raises:
        ConfigError: a negative chunk; or a host that overwrites rows where the contents would be.
    """

    def __init__(
        self, prompts: SplicedPrompts, blocks: TextBlocks, chunk: int = 0, store_keys: bool = True
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
        self.store_keys = store_keys
        self._layout = _find_layout(prompts)
        self._stored: list[Tensor] | None = None

    def invalidate(self) -> None:
        """Drop the stored keys and values; the next call computes them from the host as it is then."""
        self._stored = None

    def __call__(self, contents: Tensor, classes: slice | Tensor | None = None) -> Tensor:
        """Return text features (B, C', D_v), not normalised, of the contents (B, K, D_t)."""
        contents = self.blocks.embed_contents(contents.to(self._dtype))
        index = class_index(self.prompts, classes)
        layout = self._layout
        common: tuple[Tensor, ...] = ()
        if layout.n_common:
            common = self._run_common(contents)
        n_rows = int((layout.end - layout.begin)[index].max()) + 1 - layout.n_common
        width, n_layers = contents.shape[-1], len(self.blocks.layers)
        chunk = self.chunk or auto_chunk(
            len(contents) * n_rows, width, n_layers, contents.requires_grad, index.device
        )
        return run_in_chunks(self._run_classes, index, chunk, (contents, *common))

    @property
    def _dtype(self) -> torch.dtype:
        return self.blocks.layers[0].attn.in_proj_weight.dtype

    def _run_common(self, contents: Tensor) -> tuple[Tensor, ...]:
        """Return each layer's keys and values (B, 1, R, 2D) of the rows that all classes share."""
        first = torch.zeros(1, dtype=torch.long, device=contents.device)
        x = self._rows(first, contents, skip=0, n_rows=self._layout.n_common)
        past = self._static_keys(first)
        kept = []
        for i in range(len(self.blocks.layers)):
            bias = self._bias(first, past[i].shape[-2], 0, x.shape[2], x.dtype)
            x, keys = run_block(self.blocks, i, x, [past[i][None]], bias)
            kept.append(keys)
        return tuple(kept)

    def _run_classes(self, classes: Tensor, contents: Tensor, *common: Tensor) -> Tensor:
        """Return text features (B, C, D_v) of one chunk of classes."""
        layout = self._layout
        begin, end = layout.begin[classes], layout.end[classes]
        skip = layout.n_common
        x = self._rows(classes, contents, skip, int((end - begin).max()) + 1 - skip)
        past = self._static_keys(classes)
        last = len(self.blocks.layers) - 1
        bias = None
        for i in range(last + 1):
            n_past = past[i].shape[-2]
            if bias is None or n_past != past[i - 1].shape[-2]:
                bias = self._bias(classes, n_past, skip, x.shape[2], x.dtype)
            earlier = [past[i][None], common[i]] if common else [past[i][None]]
            # Of the last layer only the end-of-text row is read.
            read = end - begin - skip if i == last else None
            x, _ = run_block(self.blocks, i, x, earlier, bias, read)
        return self.blocks.finish(x.flatten(0, 2)).unflatten(0, x.shape[:2])

    def _rows(self, classes: Tensor, contents: Tensor, skip: int, n_rows: int) -> Tensor:
        """Return rows (B, C, n_rows, D) with positions, from ``skip`` rows after the first content on."""
        prompts = self.prompts
        steps = torch.arange(skip, skip + n_rows, device=classes.device)
        # Classes with a shorter suffix repeat rows of their padding, which no row that counts attends to.
        position = (self._layout.begin[classes, None] + steps).clamp(max=prompts.context_length - 1)
        static = prompts.static_rows(classes, position).to(self._dtype)
        which = prompts.source[classes].gather(1, position) - prompts.first_content_source
        rows = torch.where((which >= 0)[..., None], contents[:, which.clamp(min=0)], static)
        return rows + self.blocks.positional_embedding.to(self._dtype)[position]

    def _bias(self, classes: Tensor, n_past: int, n_common: int, n_rows: int, dtype: torch.dtype) -> Tensor:
        """Return the additive mask (C, S, T + R + S); inserted rows stand before the padding."""
        inserted = n_past - self._layout.n_static
        n_valid = self._layout.begin[classes] + inserted
        return causal_bias(n_valid, n_past, n_common, n_rows, dtype)

    def _static_keys(self, classes: Tensor) -> list[Tensor]:
        """Return each layer's keys and values (C or 1, T, 2D) of the static rows."""
        if self._layout.alike:
            classes = classes[:1] * 0
        if not self.store_keys:
            return self._build_keys(classes)
        if self._stored is None:
            everything = torch.arange(
                1 if self._layout.alike else self.prompts.n_classes, device=classes.device
            )
            parts = [self._build_keys(part) for part in everything.split(_BUILD_CHUNK)]
            self._stored = [torch.cat(layer) for layer in zip(*parts, strict=True)]
        return [layer[classes] for layer in self._stored]

    @torch.no_grad()
    def _build_keys(self, classes: Tensor) -> list[Tensor]:
        # In full precision even under autocast: stored values must not depend on who asks first.
        with torch.autocast(classes.device.type, enabled=False):
            position = self.blocks.positional_embedding[: self._layout.n_static].to(self._dtype)
            rows = self.prompts.static_rows(classes)[:, : self._layout.n_static].to(self._dtype)
            x = rows + position
            kept = []
            for i in range(len(self.blocks.layers)):
                x = self.blocks.enter(i, x).to(self._dtype)
                n_rows = x.shape[1]
                bias = causal_bias(x.new_zeros(1, dtype=torch.long), 0, 0, n_rows, x.dtype)
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
