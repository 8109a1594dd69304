"""Peak memory of a call in a process of its own.

On CPU it is the resident size: what is held before the call, after freed memory was given back to
the system, and the kernel's high-water mark during it (set back before, Linux). Where the mark
cannot be set back a thread samples the size. On CUDA it is what PyTorch's allocator held.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

from loreal_plugin.runs.meter import Meter
from loreal_plugin.text.chunks import trim_heap

MIB = 2**20
_RESET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
LONG = 30.0  # seconds of a first call after which no other is made


def peak_of(
    call: Callable[[], object], device: torch.device, calls: int = 2
) -> dict[str, float | str]:
    """Return `held_mib` before and `peak_mib` during calls, `how` it was measured, and `first_s`.

    `first_s` are the processor seconds of the first call, which also makes what later calls use
    again. The peak is that of later calls, or of the first one where it took longer than `LONG`.
    """
    started = time.process_time()
    found = _peak(call, device, 1)
    first = time.process_time() - started
    return {**(found if first > LONG else _peak(call, device, calls)), "first_s": first}


def _peak(call: Callable[[], object], device: torch.device, calls: int) -> dict[str, float | str]:
    free_memory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device) / MIB
        _repeat(call, calls)
        return {
            "held_mib": held,
            "peak_mib": torch.cuda.max_memory_allocated(device) / MIB,
            "how": "allocator",
        }
    held = psutil.Process().memory_info().rss / MIB
    if _reset_mark():
        _repeat(call, calls)
        return {"held_mib": held, "peak_mib": _mark(), "how": "high-water mark"}
    with Meter(cuda=False, interval=0.005) as meter:
        _repeat(call, calls)
    return {"held_mib": held, "peak_mib": max(held, meter.peak_memory_mb), "how": "sampled"}


def free_memory() -> None:
    """Collect garbage and give freed memory back to the system, where the C library can."""
    gc.collect()
    trim_heap()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _repeat(call: Callable[[], object], calls: int) -> None:
    for _ in range(calls):
        call()


def _reset_mark() -> bool:
    """Set the process's high-water mark back; False where the system does not let us."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def _mark() -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
