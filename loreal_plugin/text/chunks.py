"""Running a text path chunk by chunk over the classes, so that activation memory does not grow with
C.
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

from loreal_plugin.errors import ConfigError

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
