"""Tensors in files that are written whole or not at all, their hashes; optimisers and schedules."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from loreal_plugin.digests import digest_bytes
from loreal_plugin.files.atomic import replacing


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str] | None = None
) -> str:
    """Write a safetensors file, with texts in its header; return the SHA-256 of the file.

    Raises:
        OSError: it cannot be written (disk full, no permission).
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    # safetensors' own `save_file` would replace the prepared file, which holds our lock
    content = save(plain, dict(header) if header else None)
    with replacing(path) as part:
        part.write_bytes(content)
    return digest_bytes(content)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a safetensors file, and the texts in its header.

    Raises:
        SafetensorError: it is cut off, or no such file.
        OSError: it cannot be read.
    """
    with safe_open(str(path), framework="pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}
        return tensors, stored.metadata() or {}


def write_torch(path: Path, content: Any, *args: Any, **kwargs: Any) -> None:
    """Write what `torch.save` writes; `args` and `kwargs` are further ones of it.

    Raises:
        OSError: it cannot be written (disk full, no permission).
    """
    # torch puts the name of a file into it, but not that of an open one
    with replacing(path) as part, open(part, "wb") as file:
        try:
            torch.save(content, file, *args, **kwargs)
        except RuntimeError as error:  # a full disk, too
            raise OSError(str(error)) from error


def digest_tensors(tensors: Iterable[tuple[str, Tensor]], *, shape_first: bool = False) -> str:
    """Return a SHA-256 over names, types, shapes and values, in the order given.

    Args:
        shape_first: shapes before types, as in fingerprints of CLIP weights.
    """
    whole = hashlib.sha256()
    for name, value in tensors:
        value = value.detach().cpu().contiguous()
        kind = (value.dtype, tuple(value.shape))
        first, second = reversed(kind) if shape_first else kind
        whole.update(f"{name} {first} {second}\n".encode())
        whole.update(value.view(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return an optimiser's state as tensors by `<parameter>.<entry>` and its plain numbers."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for index, entries in optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            elif value is not None:
                plain[f"{index}.{key}"] = value
    return tensors, plain


def unpack_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]
) -> None:
    """Put back what `pack_optimizer` gave; rates and other settings stay the optimiser's own."""
    state: dict[int, dict[str, Any]] = {}
    stored = {
        k.removeprefix("optimizer."): v for k, v in tensors.items() if k.startswith("optimizer.")
    }
    for name, value in {**stored, **plain}.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def replay_schedule(schedule: Any, epochs: int) -> None:
    """Bring a fresh schedule to where it was after `epochs`, step by step.

    A stored schedule is not loaded. Dassl's warm-up keeps a copy of the schedule that follows it,
    and after a load that copy has another optimiser: the rate would stay as it is. The steps
    themselves give the same floats on every host.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*before.*optimizer.step.*")
        for _ in range(epochs):
            schedule.step()
