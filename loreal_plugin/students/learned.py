"""Loading what a host learned, and nothing else, from its checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from loreal_plugin.contract import CONTRACTS, HostContract
from loreal_plugin.contract.facts import is_named
from loreal_plugin.errors import CheckpointError
from loreal_plugin.files.manifest import vouched_damage
from loreal_plugin.files.tensors import digest_tensors
from loreal_plugin.weights.host_checkpoints import read_host_checkpoint

_SHOWN = 6  # how many misfits an error spells out


def fingerprint(learned: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 over learned tensors: names, types, shapes and values."""
    return digest_tensors(sorted(learned.items()))


def checkpoint_file(folder: Path, contract: HostContract, epoch: int | None) -> Path:
    """Return the checkpoint of an epoch (None or 0: the last) in a host's output folder.

    Raises:
        CheckpointError: no such folder or epoch, or the folder is another method's.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} was given as the output of {contract.trainer}; no such folder"
        )
    inside = folder / contract.checkpoint
    if not inside.is_dir():
        there = sorted(item.name for item in folder.iterdir() if item.is_dir())
        others = [c.method for c in CONTRACTS.values() if c.checkpoint in there]
        guess = f"; this is a run of {' or '.join(others)}" if others else ""
        raise CheckpointError(
            f"{folder} has no '{contract.checkpoint}/', which method {contract.method} writes "
            f"(folders there: {', '.join(there) or 'none'}){guess}"
        )
    found = {
        int(match[1]): item
        for item in inside.iterdir()
        if (match := re.fullmatch(r"model\.pth\.tar-(\d+)", item.name))
    }
    wanted = epoch or max(found, default=0)
    if wanted not in found:
        epochs = ", ".join(map(str, sorted(found))) or "none"
        raise CheckpointError(
            f"{inside}: epoch {epoch or 'last'} was asked for; epochs there: {epochs}"
        )
    return found[wanted]


def load_learned(
    model: nn.Module,
    learned: Mapping[str, nn.Parameter],
    contract: HostContract,
    folder: Path,
    epoch: int | None,
) -> None:
    """Copy every learned tensor of the host's checkpoint into `model`, and no frozen one.

    Raises:
        CheckpointError: a tensor is missing, of another shape, or the checkpoint learned more than
            the model has; then nothing was copied.
    """
    path = checkpoint_file(folder, contract, epoch)
    fault = vouched_damage(folder, path)
    if fault:
        raise CheckpointError(f"{fault}; run the command of its training again")
    saved = read_host_checkpoint(path)["state_dict"]
    keys = {contract.checkpoint_key(name): value for name, value in learned.items()}
    misfits = _misfits(model, keys, saved, contract)
    if misfits:
        more = f" and {len(misfits) - _SHOWN} more" if len(misfits) > _SHOWN else ""
        raise CheckpointError(
            f"{path} does not fit method {contract.method} as configured: "
            f"{'; '.join(misfits[:_SHOWN])}{more}; "
            "it needs the method, backbone and host settings it was trained with"
        )
    with torch.no_grad():
        for key, value in keys.items():
            value.copy_(saved[key])


def take_learned(
    parameters: Mapping[str, Tensor], given: Mapping[str, Tensor], contract: HostContract
) -> None:
    """Copy learned tensors by name into a model's parameters.

    What a model of other classes lacks (`of_trained_classes` of the row) is left out there.

    Raises:
        CheckpointError: names or shapes differ; then nothing was copied.
    """
    lacking = [name for name in given if name not in parameters]
    left_out = {name for name in lacking if is_named(name, contract.of_trained_classes)}
    given = {name: value for name, value in given.items() if name not in left_out}
    differ = sorted(parameters.keys() ^ given.keys())
    both = parameters.keys() & given.keys()
    differ += sorted(name for name in both if parameters[name].shape != given[name].shape)
    if differ:
        raise CheckpointError(
            f"the learned tensors that were kept do not fit method {contract.method}: {len(differ)}"
            f" differ, first '{differ[0]}'; they need the backbone and host settings they were"
            " trained with"
        )
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(given[name])


def _misfits(
    model: nn.Module,
    keys: Mapping[str, Tensor],
    saved: Mapping[str, Tensor],
    contract: HostContract,
) -> list[str]:
    """Return why the checkpoint cannot be loaded: missing tensors and shapes, then unknown keys."""
    found = []
    for key, value in keys.items():
        if key not in saved:
            found.append(f"'{key}' is not in it")
        elif saved[key].shape != value.shape:
            shapes = f"{tuple(saved[key].shape)}, wanted {tuple(value.shape)}"
            found.append(f"'{key}' is {shapes}{_csc_hint(key, saved[key], value)}")
    known = {contract.checkpoint_key(name) for name in model.state_dict()}
    part = f"{contract.learner}." if contract.whole_model else ""
    more = [key for key in saved if key.startswith(part) and key not in known]
    found += [f"'{key}' of it is unknown to the model" for key in more]
    return found


def _csc_hint(key: str, saved: Tensor, wanted: Tensor) -> str:
    """Explain shapes that come from class-specific contexts, (C, n_ctx, D_t)."""
    if key.rsplit(".", 1)[-1] != "ctx" or 3 not in (saved.dim(), wanted.dim()):
        return ""
    if saved.dim() == wanted.dim():
        return (
            f" (contexts per class, CSC: trained on {saved.shape[0]} classes, here are"
            f" {wanted.shape[0]})"
        )
    return " (one of the two has contexts per class: CSC)"
