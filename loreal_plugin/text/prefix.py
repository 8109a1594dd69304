"""The prefix text path: static rows once a class, slot and end rows once an image.

Under causal attention a row depends on the rows before it only. So everything before the first
content has the same keys and values for every image: they are computed once, without gradient. Per
image only the suffix (contents, attribute words, end of text) runs through the layers. The result
equals the host's own text encoder on the full prompts.

    prompt:   start ctx CLASS with | S_1 S_1 color S_2 S_2 shape . end | padding
              static, kept as keys | suffix, runs once an image        | never runs

Where the prompts of all classes begin alike (slots before the class name), the rows up to the first
difference, the common rows, run once per image instead of once per image and class.

Shapes: B images, C classes of a chunk, P static rows, R common rows, S suffix rows, T rows with
what the host inserted, D = D_t.
"""

from __future__ import annotations

import torch
from torch import Tensor

from loreal_plugin.errors import ConfigError
from loreal_plugin.method.slots import SplicedPrompts, class_index
from loreal_plugin.text.blocks import TextBlocks, causal_bias, run_block
from loreal_plugin.text.layout import (
    BUILD_CHUNK,
    Groups,
    Rows,
    auto_chunk,
    check_chunk,
    find_layout,
    memory_share,
    pass_cost,
    rows_alike,
    run_in_chunks,
)


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
        self._layout = find_layout(prompts, blocks.enter_class is not None)
        self.store_keys = self._keys_fit() if store_keys is None else store_keys
        self.invalidate()

    def invalidate(self) -> None:
        """Drop what is stored; the next call computes it from the host as it is then."""
        self._stored: list[Tensor] | None = None
        self._all: Groups | None = None
        self._chunks: dict[tuple[int, bool], int] = {}

    def __call__(self, contents: Tensor, classes: slice | Tensor | None = None) -> Tensor:
        """Return text features (B, C', D_v), not normalised, of the contents (B, K, D_t)."""
        contents = self._embedded(contents)
        common = self._run_common(contents)
        chunk = self._chunk_for(classes, len(contents), contents.requires_grad)
        if chunk:
            index = class_index(self.prompts, classes)
            # Classes with equally many rows, static or not, go together: no chunk is padded to the
            # longest.
            length = (
                self._layout.n_rows(index) + self.prompts.context_length * self._layout.begin[index]
            )
            order = length.argsort(stable=True)
            features = run_in_chunks(self._run_classes, index[order], chunk, (contents, *common))
            return features[:, order.argsort()]
        groups = self._groups(classes)
        done = [
            self._run_classes(part, contents, *common, rows=rows)
            for part, rows in zip(groups.parts, groups.rows, strict=True)
        ]
        return done[0] if len(done) == 1 else torch.cat(done, dim=1)[:, groups.back]

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
            # Pairs stand where classes stand, with contents of their own: (1, N, D_v).
            rows, image = self._suffix(classes[part]), images[part]
            filled = contents[image[:, None], rows.which.clamp(min=0)][None]
            shared = tuple(keys[image].transpose(0, 1) for keys in common)
            return self._through(classes[part], self._filled(rows, filled), shared)

        features = run_in_chunks(run, numbers, max(1, chunk), (contents, *common))
        return features[0, order.argsort()]

    # ---- what runs together ----------------------------------------------------------------------

    def _chunk_for(self, classes: slice | Tensor | None, n_images: int, needs_grad: bool) -> int:
        """Return how many classes run at once; 0: all of those that were asked for."""
        if classes is not None or self.chunk:
            index = class_index(self.prompts, classes)
            chunk = self.chunk or self._auto_chunk(index, n_images, needs_grad)
            return chunk if chunk < len(index) else 0
        key = (n_images, needs_grad)
        if key not in self._chunks:
            index = class_index(self.prompts, None)
            chunk = self._auto_chunk(index, n_images, needs_grad)
            self._chunks[key] = chunk if chunk < len(index) else 0
        return self._chunks[key]

    def _groups(self, classes: slice | Tensor | None) -> Groups:
        """Return the groups in which classes run at once; those of all classes are kept."""
        if classes is None and self._all is not None:
            return self._all
        index = class_index(self.prompts, classes)
        n_rows = self._layout.n_rows(index)
        sizes = rows_alike(n_rows.tolist(), pass_cost(self.blocks.positional_embedding))
        if len(sizes) == 1:
            order = torch.arange(len(index), device=index.device)
        else:
            order = n_rows.argsort(stable=True)
        parts = index[order].split(sizes)
        keep = classes is None and self.store_keys
        rows = tuple(self._suffix(part) if keep else None for part in parts)
        groups = Groups(parts, rows, order.argsort())
        if classes is None:
            self._all = groups
        return groups

    def _auto_chunk(self, classes: Tensor, n_images: int, needs_grad: bool) -> int:
        """Return how many of these classes, each with n_images images, fit the budget at once."""
        layout, n_layers = self._layout, len(self.blocks.layers)
        rows = n_images * int(self._layout.n_rows(classes).max())
        width = self.blocks.positional_embedding.shape[-1]
        earlier = n_images * (layout.n_static + layout.n_common)
        return auto_chunk(rows, width, n_layers, needs_grad, classes.device, self.budget, earlier)

    def _keys_fit(self) -> bool:
        """Say whether the static keys and values of all classes take a quarter of the budget."""
        n_classes = 1 if self._layout.alike else self.prompts.n_classes
        weight = self.blocks.layers[0].attn.in_proj_weight
        per_row = 2 * weight.shape[1] * weight.element_size() * len(self.blocks.layers)
        share = memory_share(weight.device, self.budget)
        return n_classes * self._layout.n_static * per_row <= share

    # ---- rows through the blocks -----------------------------------------------------------------

    @property
    def _dtype(self) -> torch.dtype:
        return self.blocks.layers[0].attn.in_proj_weight.dtype

    def _embedded(self, contents: Tensor) -> Tensor:
        """Return contents as the host's prompts have their embeddings."""
        change, contents = self.blocks.embed_contents, contents.to(self._dtype)
        return contents if change is None else change(contents)

    def _suffix(self, classes: Tensor) -> Rows:
        """Return the rows behind what is common, as many for each class as the longest has."""
        return self._rows(classes, self._layout.n_common, int(self._layout.n_rows(classes).max()))

    def _rows(self, classes: Tensor, skip: int, n_rows: int) -> Rows:
        """Return n_rows rows of each class, from `skip` rows after its first content on."""
        prompts = self.prompts
        steps = torch.arange(skip, skip + n_rows, device=classes.device)
        # Classes with a shorter suffix repeat rows of their padding, which no row that counts
        # attends to.
        position = (self._layout.begin[classes, None] + steps).clamp(max=prompts.context_length - 1)
        source = prompts.source[classes].gather(1, position)  # (C, S)
        static = prompts.static_rows(classes, position).to(self._dtype)  # (C, S, D)
        placed = static + self.blocks.positional_embedding.to(self._dtype)[position]
        return Rows(position, source - prompts.first_content_source, placed)

    def _filled(self, rows: Rows, contents: Tensor) -> Tensor:
        """Return rows (B, C, S, D) in which contents (B, C, S, D) stand where a slot has one."""
        placed = contents + self.blocks.positional_embedding.to(self._dtype)[rows.position]
        return torch.where((rows.which >= 0)[..., None], placed, rows.static)

    def _run_common(self, contents: Tensor) -> tuple[Tensor, ...]:
        """Return each layer's keys and values (B, 1, R, 2D) of the common rows; () without any."""
        if not self._layout.n_common:
            return ()
        first = torch.zeros(1, dtype=torch.long, device=contents.device)
        rows = self._rows(first, 0, self._layout.n_common)
        x = self._filled(rows, contents[:, rows.which.clamp(min=0)])  # (B, 1, R, D)
        past = self._static_keys(first)
        kept = []
        for i in range(len(self.blocks.layers)):
            bias = self._bias(first, past[i].shape[-2], 0, x.shape[2], x.dtype)
            x, keys = run_block(self.blocks, i, x, [past[i][None]], bias)
            kept.append(keys)
        return tuple(kept)

    def _run_classes(
        self, classes: Tensor, contents: Tensor, *common: Tensor, rows: Rows | None = None
    ) -> Tensor:
        """Return text features (B, C, D_v) of classes that run at once."""
        rows = rows or self._suffix(classes)
        x = self._filled(rows, contents[:, rows.which.clamp(min=0)])  # (B, C, S, D)
        return self._through(classes, x, common)

    def _through(self, classes: Tensor, x: Tensor, common: tuple[Tensor, ...]) -> Tensor:
        """Return text features (B, C, D_v) of the suffix rows x (B, C, S, D)."""
        layout = self._layout
        skip = layout.n_common
        past = self._static_keys(classes)
        last = len(self.blocks.layers) - 1
        bias = None
        for i in range(last + 1):
            n_past = past[i].shape[-2]
            if bias is None or n_past != past[i - 1].shape[-2]:  # MMRL inserts rows on the way
                bias = self._bias(classes, n_past, skip, x.shape[2], x.dtype)
            earlier = [past[i][None], common[i]] if common else [past[i][None]]
            # Of the last layer only the end-of-text row is read.
            read = (layout.end - layout.begin)[classes] - skip if i == last else None
            x, _ = run_block(self.blocks, i, x, earlier, bias, read)
        # (B, C, 1, D) -> (B * C, D) -> (B * C, D_v) -> (B, C, D_v)
        return self.blocks.finish(x.flatten(0, 2)).unflatten(0, x.shape[:2])

    def _bias(
        self, classes: Tensor, n_past: int, n_common: int, n_rows: int, dtype: torch.dtype
    ) -> Tensor:
        """Return the additive mask (C, S, T + R + S); inserted rows stand before the padding."""
        begin = self._layout.begin[classes]
        n_valid = begin + n_past - int(begin.max())
        return causal_bias(n_valid, n_past, n_common, n_rows, dtype)

    # ---- static keys and values ------------------------------------------------------------------

    def _static_keys(self, classes: Tensor) -> list[Tensor]:
        """Return each layer's keys and values (C or 1, T, 2D), padded to the longest class."""
        if self._layout.alike:
            classes = classes[:1] * 0
        longest = int(self._layout.begin[classes].max())
        if not self.store_keys:
            return self._build_keys(classes, longest)
        n_static = self._layout.n_static
        if self._stored is None:
            n_classes = 1 if self._layout.alike else self.prompts.n_classes
            everything = torch.arange(n_classes, device=classes.device)
            parts = [self._build_keys(part, n_static) for part in everything.split(BUILD_CHUNK)]
            self._stored = [torch.cat(layer) for layer in zip(*parts, strict=True)]
        unused = n_static - longest
        return [layer[classes, : layer.shape[1] - unused] for layer in self._stored]

    @torch.no_grad()
    def _build_keys(self, classes: Tensor, n_rows: int) -> list[Tensor]:
        """Return each layer's keys and values (C, T, 2D) of the first n_rows rows."""
        n_layers = len(self.blocks.layers)
        # In full precision even under autocast: stored values must not depend on who asks first.
        with torch.autocast(classes.device.type, enabled=False):
            position = self.blocks.positional_embedding[:n_rows].to(self._dtype)
            x = self.prompts.static_rows(classes)[:, :n_rows].to(self._dtype) + position
            kept = []
            for i in range(n_layers):
                x = self.blocks.entered(i, x, classes).to(self._dtype)
                bias = causal_bias(x.new_zeros(1, dtype=torch.long), 0, 0, x.shape[1], x.dtype)
                y, keys = run_block(self.blocks, i, x[None], [], bias)
                x = y[0]
                kept.append(keys[0])
            return kept
