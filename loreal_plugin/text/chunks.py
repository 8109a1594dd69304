"""Many classes: which of them run together, and how they run in chunks.

Classes run in chunks, so that activation memory does not grow with their number. They run in
groups of like length, so that short prompts are not padded to long ones. A list of classes that
fits at once and has one length needs nothing of this.

Shapes: B images, C classes, D = D_t.
"""

from __future__ import annotations

import ctypes
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Operations that take as long as the fixed cost of one more pass through a block (launches, masks,
# joins): 0.15 ms at the speed of one core and of a GPU, a guess. It decides only which classes of
# unequal length run together, never a result.
_PASS_COST = {"cpu": 11_000_000, "cuda": 3_000_000_000}


def split_by_length(n_rows: Tensor, positional_embedding: Tensor) -> tuple[Tensor, ...]:
    """Return the numbers of classes in groups of like length, the shortest first.

    Args:
        n_rows: (C,) rows of every class.
        positional_embedding: (L, D_t) of the text encoder; width and device say what a pass costs.
    """
    operations = _PASS_COST.get(positional_embedding.device.type, _PASS_COST["cpu"])
    cost = max(1, operations // (24 * positional_embedding.shape[-1] ** 2))
    # one number at a time: PyTorch 2.5 gives no list of a tensor made under torch.func.jvp
    sizes = group_sizes([int(count) for count in n_rows.cpu()], cost)
    if len(sizes) == 1:  # padding costs less than a second pass; the order stays
        return (torch.arange(len(n_rows), device=n_rows.device),)
    return n_rows.argsort(stable=True).split(sizes)


def group_sizes(n_rows: Sequence[int], cost: int) -> list[int]:
    """Return sizes of the groups into which classes, sorted by their number of rows, are best cut.

    A group is padded to its longest class. The cut is the cheapest for one image, so that it does
    not depend on how many images run together.

    Args:
        n_rows: rows of every class, in any order.
        cost: what a group costs by itself, in rows.
    """
    counts = sorted(Counter(n_rows).items())
    # best[n]: (rows run, sizes of groups) of the classes with the n shortest lengths
    best: list[tuple[int, list[int]]] = [(0, [])]
    for end in range(1, len(counts) + 1):
        longest = counts[end - 1][0]
        choices = []
        for start in range(end):  # the last group has the lengths start..end - 1
            size = sum(count for _, count in counts[start:end])
            choices.append((best[start][0] + size * longest + cost, [*best[start][1], size]))
        best.append(min(choices))
    return best[-1][1]


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Return glibc's function of that name; None where the C library has none."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def trim_heap() -> None:
    """Give freed memory back to the system, where the C library can.

    Chunks differ a little in size, so what one leaves behind in the heap seldom fits the next:
    without this, resident memory grows with their number.
    """
    malloc_trim = _malloc_trim()
    if malloc_trim is not None:
        malloc_trim(0)


def run_in_chunks(
    run: Callable[..., Tensor],
    classes: Tensor,
    chunk: int,
    inputs: tuple[Tensor, ...],
    length: Tensor | None = None,
) -> Tensor:
    """Return ``run(classes of a chunk, *inputs)`` of all chunks, joined along dimension 1.

    With more than one chunk and gradient wanted, a chunk keeps only its inputs and is computed
    again in the backward pass.

    Args:
        run: (class index tensor (c,), *inputs) -> (B, c, D_v).
        classes: (C',) class indices.
        chunk: classes per chunk.
        inputs: tensors the result depends on; those with gradient receive it.
        length: (C',) when given, classes of like length run together.
    """
    if length is not None:
        order = length.argsort(stable=True)
        return run_in_chunks(run, classes[order], chunk, inputs)[:, order.argsort()]
    parts = classes.split(chunk)
    if len(parts) == 1:
        return run(classes, *inputs)
    if torch.is_grad_enabled() and any(t.requires_grad for t in inputs):

        def run_again(*arguments: Tensor) -> Tensor:
            if classes.device.type == "cpu":
                trim_heap()
            return run(*arguments)

        # The frozen text encoder draws no random numbers, so no generator state needs saving.
        outputs = [
            checkpoint(run_again, part, *inputs, use_reentrant=False, preserve_rng_state=False)
            for part in parts
        ]
    else:
        outputs = [run(part, *inputs) for part in parts]
    return torch.cat(outputs, dim=1)
