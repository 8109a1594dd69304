"""Wall time and peak memory of a stage."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import psutil
import torch

_MB = 1024 * 1024


class Meter:
    """Context manager: `seconds` (wall) and `peak_memory_mb` of what runs inside.

    On CUDA the peak is the allocator's; on CPU it is the process's resident size, sampled ten times
    a second, because the system's own high-water mark cannot be set back between stages.

    Args:
        cuda: the run may use CUDA (`USE_CUDA`); False measures the process on a machine with a GPU,
            too.
        interval: seconds between two samples.
    """

    def __init__(self, *, cuda: bool = True, interval: float = 0.1) -> None:
        self.seconds = 0.0
        self.peak_memory_mb = 0.0
        self._cuda = cuda and torch.cuda.is_available()
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Meter:
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        self._started = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._started
        self._stop.set()
        self._thread.join()
        if self._cuda:
            self.peak_memory_mb = torch.cuda.max_memory_allocated() / _MB

    def _sample(self) -> None:
        process = psutil.Process()
        while True:
            self.peak_memory_mb = max(self.peak_memory_mb, process.memory_info().rss / _MB)
            if self._stop.wait(self._interval):
                return
