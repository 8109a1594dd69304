"""Which rows of the spliced prompts are static, and which classes run together.

Classes run in chunks, so that activation memory does not grow with their number, and in groups of
like length, so that short prompts are not padded to long ones.

Shapes: B images, C classes, L context length, P static rows, R common rows, S suffix rows, D = D_t.
"""

from __future__ import annotations

import ctypes
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from loreal_plugin.errors import ConfigError
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


def find_layout(prompts: SplicedPrompts, by_class: bool = False) -> Layout:
    """Return where prompts begin and end, and how many rows all of them share.

    Args:
        by_class: the host puts other rows into each class's prompt, so that classes share nothing.
    """
    begin, end = prompts.first_content, prompts.eot
    n_static = int(begin.max())
    if by_class or int(begin.min()) != n_static:
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


# ---- chunks --------------------------------------------------------------------------------------

GIB = 1024**3

# Widths of float32 that a row of a pre-norm block holds, and one of the earlier rows whose keys and
# values are joined to it: kept a layer for the backward pass, or at once without one. Measured at
# CLIP's text size with four images and eight classes, slots behind and before the class name;
# rounded up.
_WIDTHS = {True: (15, 4), False: (23, 6)}

# Fixed numbers, not the free memory: the chunking changes the last bits of a sum, and runs must
# reproduce.
_TRAINING_BUDGET = {"cpu": 2 * GIB, "cuda": 8 * GIB}
_INFERENCE_BUDGET = {"cpu": GIB // 4, "cuda": 2 * GIB}


def auto_chunk(
    rows_per_class: int,
    width: int,
    n_layers: int,
    needs_grad: bool,
    device: torch.device,
    budget: int = 0,
    earlier: int = 0,
) -> int:
    """Return how many classes fit the activation budget at once.

    Args:
        rows_per_class: rows that one class adds to the batch, all images together.
        width: D_t.
        n_layers: layers whose activations are alive at the same time in training.
        needs_grad: whether activations are kept for a backward pass.
        device: where the rows live.
        budget: bytes, of which three quarters are for activations; 0 = a fixed number for the
            device.
        earlier: rows of a class, all images together, that only their keys and values stand for.
    """
    budgets = _TRAINING_BUDGET if needs_grad else _INFERENCE_BUDGET
    budget = budget - budget // 4 or budgets.get(device.type, budgets["cpu"])
    per_row, per_earlier = _WIDTHS[needs_grad]
    widths = rows_per_class * per_row + earlier * per_earlier
    return max(1, budget // max(1, widths * width * 4 * (n_layers if needs_grad else 1)))


def memory_share(device: torch.device, budget: int = 0) -> int:
    """Return how many bytes stored keys and values may take: a quarter of the budget, or a fixed
    number.
    """
    return budget // 4 or _INFERENCE_BUDGET.get(device.type, _INFERENCE_BUDGET["cpu"])


def check_chunk(chunk: int) -> int:
    """Return a class chunk setting as it is.

    Raises:
        ConfigError: it is negative (0 means automatic).
    """
    if chunk < 0:
        raise ConfigError(f"CLASS_CHUNK must be 0 (automatic) or a number of classes, got {chunk}")
    return chunk


def rows_alike(n_rows: Sequence[int], cost: int) -> list[int]:
    """Return sizes of the groups into which classes, sorted by their number of rows, are best cut.

    A group is padded to its longest class. The cut is the cheapest for one image, so that it does
    not depend on how many images run together.

    Args:
        n_rows: of every class, in any order.
        cost: what a group costs by itself, in rows.
    """
    counts = sorted(Counter(n_rows).items())
    best: list[tuple[int, list[int]]] = [
        (0, [])
    ]  # (rows run, sizes) of the classes with the shortest lengths
    for upto in range(1, len(counts) + 1):
        longest = counts[upto - 1][0]
        choices = []
        for start in range(upto):
            size = sum(count for _, count in counts[start:upto])
            choices.append((best[start][0] + size * longest + cost, [*best[start][1], size]))
        best.append(min(choices))
    return best[-1][1]


@cache
def _trim() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def trim_heap() -> None:
    """Give freed memory back to the system, where the C library can.

    Chunks differ a little in size, so what one leaves behind in the heap seldom fits the next:
    without this, resident memory grows with their number.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


def run_in_chunks(
    run: Callable[..., Tensor], classes: Tensor, chunk: int, inputs: tuple[Tensor, ...]
) -> Tensor:
    """Return ``run(classes_of_a_chunk, *inputs)`` of all chunks, joined along dimension 1 (the
    classes).

    With more than one chunk and gradient wanted, a chunk keeps only its inputs and is computed
    again in the backward pass.

    Args:
        run: (class index tensor (c,), *inputs) -> (B, c, D_v).
        classes: (C',) class indices.
        chunk: classes per chunk.
        inputs: tensors the result depends on; those with gradient receive it.
    """
    parts = classes.split(chunk)
    if len(parts) == 1:
        return run(classes, *inputs)
    if torch.is_grad_enabled() and any(t.requires_grad for t in inputs):

        def fresh(*words: Tensor) -> Tensor:
            if classes.device.type == "cpu":
                trim_heap()
            return run(*words)

        # The frozen text encoder draws no random numbers, so no generator state needs saving.
        outputs = [
            checkpoint(fresh, part, *inputs, use_reentrant=False, preserve_rng_state=False)
            for part in parts
        ]
    else:
        outputs = [run(part, *inputs) for part in parts]
    return torch.cat(outputs, dim=1)
