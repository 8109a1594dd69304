"""Timing variants in turns, so that what slows the machine down slows all of them down."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

SHORTEST = 0.05  # seconds that one sample takes at least; shorter calls are repeated within it
LONG = 1.0  # seconds after which a first call tells well enough how long others will take
MIN_ROUNDS = 3


def interleave(
    variants: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    budget_s: float,
    device: torch.device,
    cold: Sequence[str] = (),
) -> dict[str, dict[str, list[float]]]:
    """Return samples in seconds a call, `wall` and `cpu` (processor time of this process), for each
    variant.

    Every variant is warmed up, then all are timed once a round, each round starting with another
    one.

    Args:
        rounds: samples of each variant.
        budget_s: after this many seconds no further round is begun, but there are at least
            `MIN_ROUNDS`.
        cold: variants without a warm-up, whose samples are single calls; for calls that take many
            seconds.
    """
    names = list(variants)
    repeats = {name: 1 if name in cold else _repeats(variants[name], device) for name in names}
    samples: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in names}
    started = time.perf_counter()
    for number in range(rounds):
        if number >= MIN_ROUNDS and time.perf_counter() - started > budget_s:
            break
        for name in names[number % len(names) :] + names[: number % len(names)]:
            wall, cpu = _time(variants[name], repeats[name], device)
            samples[name]["wall"].append(wall)
            samples[name]["cpu"].append(cpu)
    return samples


def _repeats(call: Callable[[], object], device: torch.device) -> int:
    """Warm a variant up; return how many calls make a sample."""
    wall, _ = _time(call, 1, device)
    if wall < LONG:
        wall, _ = _time(call, 1, device)
    return max(1, min(100, round(SHORTEST / max(wall, 1e-6))))


def _time(call: Callable[[], object], repeats: int, device: torch.device) -> tuple[float, float]:
    _wait(device)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        call()
    _wait(device)
    return (time.perf_counter() - wall) / repeats, (time.process_time() - cpu) / repeats


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clock_of(device: torch.device) -> str:
    """Return which clock times are read from: on one CPU thread the processor's, which other
    programs do not slow.
    """
    return "cpu" if device.type == "cpu" and torch.get_num_threads() == 1 else "wall"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, first and third quartile, smallest value and count of samples."""
    ordered = sorted(values)
    low, high = (ordered[0], ordered[-1]) if len(ordered) < 4 else _quartiles(ordered)
    return {
        "median": statistics.median(ordered),
        "q1": low,
        "q3": high,
        "min": ordered[0],
        "n": len(ordered),
    }


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def ratios(
    samples: Mapping[str, Any], slow: str, fast: str, clock: str = "wall"
) -> dict[str, float]:
    """Return the spread of slow / fast, sample by sample: both were taken in the same round."""
    pairs = zip(samples[slow][clock], samples[fast][clock], strict=True)
    return spread([a / b for a, b in pairs])
