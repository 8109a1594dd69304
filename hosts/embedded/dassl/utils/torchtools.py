"""Checkpoints, and small operations on models.

A checkpoint is a dict with `state_dict`, `epoch` (number of finished epochs), `optimizer`,
`scheduler` and `val_result`, in `<folder>/model.pth.tar-<epoch>`; the text file
`<folder>/checkpoint` names the newest one. Everything is written whole or not at all, and loads
with `torch.load(weights_only=True)`.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dassl._plugin import CheckpointError, read_saved, replacing

from .tools import mkdir_if_missing

POINTER = "checkpoint"
BEST = "model-best.pth.tar"


def _write_whole(target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a neighbour of `target`, then rename it; a failure leaves nothing."""
    try:
        with replacing(target) as part:
            write(part)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise CheckpointError(
            f"'{target}' could not be written ({error}); is the disk full?"
        ) from error


def _save(state: dict[str, Any], path: Path) -> None:
    """Save into an open file: torch writes the name of a named one into it."""
    with open(path, "wb") as file:
        torch.save(state, file)


def _without_module(state_dict: dict[str, Any]) -> OrderedDict[str, Any]:
    """Return the tensors under the names they have without nn.DataParallel around the model."""
    return OrderedDict((key.removeprefix("module."), value) for key, value in state_dict.items())


def save_checkpoint(
    state: dict[str, Any],
    save_dir: str | os.PathLike[str],
    is_best: bool = False,
    remove_module_from_keys: bool = True,
    model_name: str = "",
) -> None:
    """Write `state` to `save_dir` as `model_name` or `model.pth.tar-<epoch>`; the file `checkpoint`
    names it.

    Raises:
        CheckpointError: when it cannot be written; earlier files stay as they were.
    """
    mkdir_if_missing(save_dir)
    if remove_module_from_keys:
        state = {**state, "state_dict": _without_module(state["state_dict"])}
    target = Path(save_dir) / (model_name or f"model.pth.tar-{state['epoch']}")
    _write_whole(target, lambda path: _save(state, path))
    print(f"Checkpoint saved to {target}")
    _write_whole(target.with_name(POINTER), lambda path: path.write_text(f"{target.name}\n"))
    if is_best:
        best = target.with_name(BEST)
        _write_whole(best, lambda path: shutil.copyfile(target, path))
        print(f'Best checkpoint saved to "{best}"')


def load_checkpoint(fpath: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Return a checkpoint with its tensors on the CPU; other objects, such as Dassl's scheduler,
    come back empty.

    Nothing of the file is executed, unless the user names it in `LOREAL_UNPICKLE`.

    Raises:
        ValueError: when `fpath` is None.
        FileNotFoundError: when there is no such file.
        CheckpointError: when the file is truncated or no checkpoint.
    """
    if fpath is None:
        raise ValueError("no checkpoint path was given")
    if not os.path.isfile(fpath):
        raise FileNotFoundError(f"no checkpoint at '{fpath}'")
    return read_saved(fpath)


def latest_name(fdir: str | os.PathLike[str]) -> str | None:
    """Return the file name that `<fdir>/checkpoint` gives, or None when there is no such file."""
    pointer = Path(fdir) / POINTER
    return pointer.read_text().splitlines()[0].strip() if pointer.is_file() else None


def resume_from_checkpoint(
    fdir: str | os.PathLike[str],
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Any = None,
    model_name: str | None = None,
) -> int:
    """Load model, optimiser, schedule of the newest (or named) checkpoint; return its epoch."""
    name = model_name or latest_name(fdir)
    if name is None:
        raise FileNotFoundError(f"no file '{POINTER}' in '{fdir}' to resume from")
    fpath = Path(fdir) / name
    print(f'Loading checkpoint from "{fpath}"')
    saved = load_checkpoint(fpath)
    model.load_state_dict(saved["state_dict"])
    loaded = ["model weights"]
    for key, part in (("optimizer", optimizer), ("scheduler", scheduler)):
        if part is not None and saved.get(key) is not None:
            part.load_state_dict(saved[key])
            loaded.append(key)
    print("\n".join(f"Loaded {what}" for what in loaded))
    print(f"Previous epoch: {saved['epoch']}")
    return saved["epoch"]


def open_all_layers(model: nn.Module) -> None:
    """Put the whole model in training mode, every parameter trainable."""
    model.train()
    model.requires_grad_(True)


def open_specified_layers(model: nn.Module, open_layers: str | list[str]) -> None:
    """Train only the named children of the model; all others are frozen and in eval mode.

    Raises:
        ValueError: when a name is no child.
    """
    model = model.module if isinstance(model, nn.DataParallel) else model
    wanted = {open_layers} if isinstance(open_layers, str) else set(open_layers)
    children = dict(model.named_children())
    missing = sorted(wanted - set(children))
    if missing:
        raise ValueError(
            f"{type(model).__name__} has no child {missing} (it has: {list(children)})"
        )
    for name, child in children.items():
        child.train(name in wanted)
        child.requires_grad_(name in wanted)


def count_num_param(
    model: nn.Module | None = None, params: Iterable[nn.Parameter | dict[str, Any]] | None = None
) -> int:
    """Return the number of values in the parameters of `model`, or in `params`."""
    if model is not None:
        return sum(p.numel() for p in model.parameters())
    if params is None:
        raise ValueError("count_num_param needs a model or parameters")
    total = 0
    for entry in params:
        group = entry["params"] if isinstance(entry, dict) else entry
        total += sum(p.numel() for p in ([group] if isinstance(group, torch.Tensor) else group))
    return total


def load_pretrained_weights(model: nn.Module, weight_path: str | os.PathLike[str]) -> None:
    """Load every tensor whose name and shape fit; say which did not, warn when none did."""
    checkpoint = load_checkpoint(weight_path)
    found = _without_module(checkpoint.get("state_dict", checkpoint))
    own = model.state_dict()
    fits = {
        key: value for key, value in found.items() if key in own and own[key].shape == value.shape
    }
    model.load_state_dict({**own, **fits})
    if not fits:
        warnings.warn(
            f"'{weight_path}' has no tensor that fits the model by name and shape", stacklevel=2
        )
        return
    print(f"Successfully loaded pretrained weights from {weight_path}")
    left = [key for key in found if key not in fits]
    if left:
        print(f"Layers discarded due to unmatched keys or size: {left}")
