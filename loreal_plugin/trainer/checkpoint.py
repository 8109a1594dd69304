"""Stage-3 checkpoints: safetensors files with tensors, and everything else as JSON in the header.

`<output>/loreal/model-<epoch>.safetensors` has the meta-nets, the optimiser's tensors and the
training means of both students' embeddings; the header's entry `loreal` says what they belong to.
`checkpoint` names the last file. A killed run leaves whole files only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from loreal_plugin.errors import CheckpointError
from loreal_plugin.files import replacing
from loreal_plugin.files.tensors import read_safetensors, write_tensors

CHECKPOINT_VERSION = 1
NAME = "loreal"  # the registered model, hence the folder
BEST = "model-best.safetensors"
LATEST = "checkpoint"
# What the meta-nets were trained for; `Stage3` fills it in.
IDENTITY = (
    "method",
    "backbone",
    "n_attributes",
    "hidden_dim",
    "visual_dim",
    "text_dim",
    "meta_bias",
    "n_content",
    "slot_order",
    "slot_parts",
    "drift",
    "attributes",
)


def file_name(epoch: int) -> str:
    """Return the name of the checkpoint after `epoch` epochs."""
    return f"model-{epoch}.safetensors"


def write_checkpoint(
    folder: Path, name: str, tensors: Mapping[str, Tensor], record: Mapping[str, Any]
) -> Path:
    """Write a checkpoint and make it the latest; return its path.

    Raises:
        CheckpointError: the folder cannot be written (no space, no permission).
    """
    path = folder / name
    header = {NAME: json.dumps({"version": CHECKPOINT_VERSION, **record})}
    try:
        write_tensors(path, tensors, header)
        if name != BEST:
            with replacing(folder / LATEST) as pointer:
                pointer.write_text(f"{name}\n", encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be written: {error}") from error
    return path


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and record of a checkpoint.

    Raises:
        CheckpointError: missing, truncated, or not written by `write_checkpoint`.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist; was stage 3 run to this epoch?")
    try:
        tensors, header = read_safetensors(path)
        record = json.loads(header[NAME])
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(
            f"{path} is no whole LOREAL checkpoint ({error}); remove it and train again"
        ) from error
    if record.get("version") != CHECKPOINT_VERSION:
        raise CheckpointError(
            f"{path} has checkpoint version {record.get('version')}, this code reads"
            f" {CHECKPOINT_VERSION}; use the release that wrote it, or train again"
        )
    return tensors, record


def find_checkpoint(directory: Path, epoch: int | None) -> Path:
    """Return the checkpoint of an epoch; without one the best by validation, else the last.

    Raises:
        CheckpointError: there is none.
    """
    folder = directory / NAME
    if epoch is not None:
        return folder / file_name(epoch)
    if (folder / BEST).is_file():
        return folder / BEST
    latest = latest_checkpoint(directory)
    if latest is None:
        raise CheckpointError(f"no LOREAL checkpoint below {folder}; run stage 3 first")
    return latest


def latest_checkpoint(directory: Path) -> Path | None:
    """Return the file that the folder's `checkpoint` names, None where no stage 3 was saved."""
    pointer = directory / NAME / LATEST
    if not pointer.is_file():
        return None
    return directory / NAME / pointer.read_text(encoding="utf-8").strip()


def check_identity(
    path: Path, record: Mapping[str, Any], mine: Mapping[str, Any], skip: tuple[str, ...] = ()
) -> None:
    """Compare what a checkpoint was trained for with this run.

    Raises:
        CheckpointError: they differ; the message has every value, the file's and this run's.
    """
    theirs = record["identity"]
    differ = [
        f"{key} is {theirs.get(key)!r} in the file, {mine[key]!r} here"
        for key in IDENTITY
        if key not in skip and theirs.get(key) != mine[key]
    ]
    if differ:
        raise CheckpointError(
            f"checkpoint {path} does not fit this run: {'; '.join(differ)}; give the settings it"
            " was trained with, or another folder"
        )
