"""Which rows of the spliced prompts are static, which are common to all classes, which run.

Shapes: C classes, L context length, P static rows, R common rows, S suffix rows, D = D_t.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from loreal_plugin.method.slots import SplicedPrompts

# Classes whose static rows are run together; bounds the memory of building their keys and values.
BUILD_CHUNK = 64

# Operations that take as long as the fixed cost of one more pass through a block (launches, masks,
# joins): 0.15 ms at the speed of one core and of a GPU, a guess. It decides only which classes of
# unequal length run together, never a result.
_PASS_COST = {"cpu": 11_000_000, "cuda": 3_000_000_000}


@dataclass(frozen=True)
class Layout:
    """Where the rows of every prompt begin and end.

    Attributes:
        begin: (C,) position of the first content.
        end: (C,) position of the end of text.
        n_static: P, rows kept per class, the longest static prefix.
        n_common: R, rows from `begin` on that are equal for all classes; 0 unless static rows are.
        alike: whether all classes have the same static rows.
    """

    begin: Tensor
    end: Tensor
    n_static: int
    n_common: int
    alike: bool

    def n_rows(self, classes: Tensor) -> Tensor:
        """Return how many rows (C,) of each class run once an image and class."""
        return (self.end - self.begin)[classes] + 1 - self.n_common


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


@dataclass(frozen=True)
class Groups:
    """Classes in groups of like length; `back` (C,) restores the order that was asked for.

    `rows` are those of each group where they are kept, else None.
    """

    parts: tuple[Tensor, ...]
    rows: tuple[Rows | None, ...]
    back: Tensor


def find_layout(prompts: SplicedPrompts) -> Layout:
    """Return where prompts begin and end, and how many rows all of them share."""
    begin, end = prompts.first_content, prompts.eot
    n_static = int(begin.max())
    if int(begin.min()) != n_static:
        return Layout(begin, end, n_static, n_common=0, alike=False)
    everything = torch.arange(prompts.n_classes, device=begin.device)
    first_row, first_source = prompts.static_rows(everything[:1]), prompts.source[:1]
    same = torch.ones(prompts.context_length, dtype=torch.bool, device=begin.device)
    for classes in everything.split(BUILD_CHUNK):
        source = prompts.source[classes]
        either_content = torch.maximum(source, first_source) >= prompts.first_content_source
        same_value = (prompts.static_rows(classes) == first_row).all(dim=-1)
        same &= torch.where(either_content, source == first_source, same_value).all(dim=0)
    if not same[:n_static].all():
        return Layout(begin, end, n_static, n_common=0, alike=False)
    # The end of text stays with the classes, which read it.
    n_common = int(same[n_static : int(end.min())].long().cumprod(0).sum())
    return Layout(begin, end, n_static, n_common, alike=True)


def pass_cost(positional_embedding: Tensor) -> int:
    """Return what one more pass through the blocks costs, in rows of the embedding's width."""
    operations = _PASS_COST.get(positional_embedding.device.type, _PASS_COST["cpu"])
    return max(1, operations // (24 * positional_embedding.shape[-1] ** 2))
