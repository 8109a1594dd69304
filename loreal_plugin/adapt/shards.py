"""Pictures at phi beside what alpha makes of the same crops: the pupil's input and its targets.

A shard is one view of at most `SHARD` pictures. Its targets are computed once and kept: in memory
up to a bound, and in the verified store. So memory does not grow with the number of pictures.

Shapes: n pictures of a shard, F features, D_v embedding width, P patches, D encoder width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import functional as TF

from loreal_plugin.adapt.ranks import Ranks
from loreal_plugin.adapt.settings import SHARD
from loreal_plugin.adapt.tar_pictures import Source, open_source
from loreal_plugin.adapt.tower import Tower
from loreal_plugin.files.store import VerifiedStore, store_key
from loreal_plugin.method.adaptation import pooled_tokens
from loreal_plugin.students.views import (
    ViewRecipe,
    as_input,
    draw_view,
    render_picture,
    view_generator,
)

READERS = 4  # threads that read and resize; PIL lets go of the interpreter while it works
CHUNK = 64  # pictures that are encoded at a time
MEMORY_BYTES = 2**31  # what shards may keep in memory


@dataclass(frozen=True)
class Shard:
    """One view of n pictures at each size of the pupil, and what alpha makes of it at its own."""

    pixels: tuple[Tensor, ...]  # (n, 3, size, size) a size, 8 bits
    features: Tensor  # (n, F, D_v), float32
    tokens: tuple[Tensor, ...]  # (n, P, D) a size, float16: the pupil's error is far larger

    @property
    def n_bytes(self) -> int:
        """Size in memory."""
        parts = (*self.pixels, self.features, *self.tokens)
        return sum(part.numel() * part.element_size() for part in parts)


class Shards:
    """All shards of a set of pictures.

    Args:
        alpha: the teacher, at its own size.
        paths: the picture files, or pictures of tar files.
        sizes: sides of the pupil's pictures, pixels; more than one trains a pupil for several.
        grids: the pupil's patches along one side, at each of them.
        recipe, seed, views: which crops.
        store: keeps targets between runs; None: they are not kept.
        ingredients: what else decides about alpha's embeddings.
        ranks: processes of which each makes its share of a shard.
    """

    def __init__(
        self,
        alpha: Tower,
        paths: Sequence[Source],
        *,
        sizes: Sequence[int],
        grids: Sequence[int],
        recipe: ViewRecipe,
        seed: int,
        views: int,
        store: VerifiedStore | None = None,
        ingredients: Mapping[str, Any] | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.alpha, self.paths, self.recipe = alpha, list(paths), recipe
        self.sizes, self.grids, self.seed, self.views = tuple(sizes), tuple(grids), seed, views
        self.store, self.ingredients = store, dict(ingredients or {})
        self.ranks = ranks or Ranks()
        order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(seed))
        self.parts = order.split(SHARD)
        self._in_memory: dict[tuple[int, int], Shard] = {}
        self._bytes_in_memory = 0

    def passes(self, epochs: int) -> list[tuple[int, int]]:
        """Return the (view, part) of every pass of a training, in order."""
        once = [(view, part) for view in range(self.views) for part in range(len(self.parts))]
        return once * epochs

    def get(self, view: int, part: int) -> Shard:
        """Return a shard; DataError where a picture cannot be read."""
        shard = self._in_memory.get((view, part))
        if shard is None:
            shard = self._make(view, part)
            if self._bytes_in_memory + shard.n_bytes <= MEMORY_BYTES:
                self._in_memory[view, part] = shard
                self._bytes_in_memory += shard.n_bytes
        return shard

    @property
    def entries(self) -> frozenset[str]:
        """Return the names of the entries of the store that a training reads or writes."""
        return frozenset(self._entry(*one)[0] for one in self.passes(1))

    def _entry(self, view: int, part: int) -> tuple[str, dict[str, Any]]:
        """Return the name of a shard's targets in the store, and what they are made from."""
        grid = {"grid": self.grids[0]} if len(self.grids) == 1 else {"grids": list(self.grids)}
        facts = {**self.ingredients, "view": view, "part": part, **grid}
        return store_key(facts, 32), facts

    def _make(self, view: int, part: int) -> Shard:
        """Return a shard with targets from the store, or computed and stored."""
        indices = self.parts[part].tolist()
        name, facts = self._entry(view, part)
        stored = self.store.read(name, facts) if self.store else None
        known = self.ranks.all_have(stored is not None)
        # a process without a share makes one picture, which `gather` leaves out again
        mine = self.ranks.share(indices) or indices[:1]
        pixels, targets = self._computed(mine, view, with_targets=not known)
        if known and stored is not None:
            targets = stored[0]
        else:
            targets = {k: self.ranks.gather(v, len(indices)) for k, v in targets.items()}
            self._store(name, facts, targets)
        of_sizes = tuple(self.ranks.gather(pixels[f"{s}"], len(indices)) for s in self.sizes)
        return Shard(of_sizes, targets["features"], tuple(targets[n] for n in self._names))

    @property
    def _names(self) -> list[str]:
        """Return the names of the targets of tokens, in the order of the grids."""
        return ["tokens", *(f"tokens.{grid}" for grid in self.grids[1:])]

    def _computed(
        self, indices: Sequence[int], view: int, *, with_targets: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the pixels of some pictures by size, and where wanted their targets by name."""
        pixels, targets = [], []
        for *small, large in self.rendered(indices, view, with_large=with_targets):
            pixels.append({f"{s}": part for s, part in zip(self.sizes, small, strict=True)})
            targets.append(self._targets(large) if with_targets else {})
        return _concatenated(pixels), _concatenated(targets)

    def _store(self, name: str, facts: Mapping[str, Any], targets: Mapping[str, Tensor]) -> None:
        """Store targets; where that fails the run goes on, and they are computed again later."""
        if self.store is None or not self.ranks.first:
            return
        try:
            self.store.write(name, facts, targets, {})
        except OSError as error:
            print(f"{self.store.what} {self.store.folder} cannot be written ({error}): not kept")
            self.store = None

    @torch.no_grad()
    def _targets(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return alpha's features (n, F, D_v) and pooled tokens (n, P, D) of 8-bit pixels."""
        features, tokens = self.alpha.encode(as_input(pixels, self.recipe))
        side, targets = self.alpha.grid, {"features": features.float().cpu()}
        for name, grid in zip(self._names, self.grids, strict=True):
            pooled = pooled_tokens(tokens.float(), (side, side), (grid, grid))
            targets[name] = pooled.half().cpu()
        return targets

    def rendered(
        self, indices: Sequence[int], view: int, *, with_large: bool
    ) -> Iterator[list[Tensor]]:
        """Yield chunks of 8-bit pixels at each size and, last, where wanted at the native size.

        What is not wanted stands as an empty tensor. One chunk is read while another is encoded.
        """
        native = self.alpha.student.input_size
        sizes = (*self.sizes, native) if with_large else self.sizes
        chunks = [indices[at : at + CHUNK] for at in range(0, len(indices), CHUNK)]
        draw = partial(self._drawn, view=view, sizes=sizes)
        with ThreadPoolExecutor(READERS) as pool:
            waiting = [pool.submit(draw, i) for i in chunks[0]]
            for later in [*chunks[1:], []]:
                ready, waiting = waiting, [pool.submit(draw, i) for i in later]
                columns = list(zip(*(job.result() for job in ready), strict=True))
                stacked = [torch.stack(column) for column in columns]
                yield stacked if with_large else [*stacked, torch.empty(0)]

    def _drawn(self, index: int, view: int, sizes: Sequence[int]) -> list[Tensor]:
        """Return one view of one picture at each size, (3, size, size) in 8 bits."""
        image = open_source(self.paths[index])
        generator = view_generator(self.seed, index, view)
        box = draw_view(*image.size, self.recipe, generator)
        return [TF.pil_to_tensor(render_picture(image, box, s, self.recipe)) for s in sizes]


def _concatenated(chunks: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the tensors of several chunks, one after the other, by name."""
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
