"""Pre-trains a demonstration CLIP from nothing and packs it, from a seed to a weights file."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch

from benchmarks.demo_world import pretrain
from benchmarks.demo_world.class_sets import class_set
from benchmarks.demo_world.pool import open_pool
from benchmarks.demo_world.towers import PATCH_SIZE
from loreal_plugin.demo.weights import MAX_BYTES, pack_state_dict
from loreal_plugin.demo.world import NUM_BASE

REPORT_EVERY = 100


def _reporter(config: pretrain.PretrainConfig) -> pretrain.Report:
    """Returns a callback that prints the smoothed losses as plain lines."""
    mean: dict[str, float] = {}
    started = time.monotonic()

    def report(step: int, losses: dict[str, float]) -> None:
        for name, value in losses.items():
            mean[name] = 0.98 * mean.get(name, value) + 0.02 * value
        if step % REPORT_EVERY == 0 or step == config.steps:
            terms = " ".join(f"{name} {value:.3f}" for name, value in mean.items())
            print(
                f"step {step}/{config.steps} {time.monotonic() - started:.0f} s {terms}", flush=True
            )

    return report


def pack(trainer: pretrain.Pretrainer, out: Path, seconds: float | None = None) -> Path:
    """Writes the trained model of `trainer` to `out`.

    Raises:
        ValueError: if the file would be larger than a shipped one may be.
    """
    metadata = {
        "config": asdict(trainer.config),
        "steps": trainer.step,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__.split("+")[0],
        "machine": platform.machine(),
    }
    if seconds is not None:
        metadata["seconds"] = round(seconds)
    pack_state_dict(trainer.model.state_dict(), trainer.table.token_ids, out, metadata)
    if out.stat().st_size > MAX_BYTES:
        raise ValueError(
            f"{out} has {out.stat().st_size} bytes, shipped weights may have {MAX_BYTES}"
        )
    return out


def build(
    out: Path,
    work: Path,
    *,
    seed: int = 1,
    steps: int | None = None,
    threads: int = 1,
    resume: bool = False,
    patch_size: int = PATCH_SIZE,
    per_half: int = NUM_BASE,
    config: pretrain.PretrainConfig | None = None,
) -> Path:
    """Pre-trains and packs a CLIP; returns `out`.

    Args:
        work: folder of the drawn pictures and of the checkpoint `<name of out>.pt`.
        resume: go on from that checkpoint. Without it an old checkpoint is an error, not silently
            replaced.
        patch_size: of the image tower, in pixels.
        per_half: base classes that it knows, and as many new ones.

    Raises:
        ValueError: if there is a checkpoint and `resume` is not set, or the checkpoint has other
            settings, or there can be no such patches or classes.
    """
    torch.set_num_threads(threads)
    config = replace(config or pretrain.PretrainConfig(), seed=seed, per_half=per_half)
    config = pretrain.with_patches(config, patch_size)
    if steps is not None:
        config = replace(config, steps=steps)
    checkpoint = work / f"{out.stem}.pt"
    if checkpoint.exists() and not resume:
        raise ValueError(f"{checkpoint} is there: go on from it with --resume, or delete it")
    trainer = pretrain.Pretrainer(config, open_pool(work, config.pool_size, class_set(per_half)))
    if checkpoint.exists():
        trainer.load(checkpoint)
    started, first = time.monotonic(), trainer.step
    pretrain.run(trainer, checkpoint, report=_reporter(config))
    seconds = time.monotonic() - started if first == 0 else None
    return pack(trainer, out, seconds)
