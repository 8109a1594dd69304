"""What an interrupted training goes on from: one file a checkpoint, the older ones removed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError

from loreal_plugin.adapt.files import PART
from loreal_plugin.adapt.train import Distillation
from loreal_plugin.errors import CheckpointError
from loreal_plugin.files.tensors import digest_tensors, read_safetensors, write_tensors


def part_files(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, the one after most passes last."""

    def passes(path: Path) -> int:
        return int(path.name.split(".")[0].rsplit("-", 1)[1])

    return sorted(folder.glob(PART.format("*")), key=passes)


def write_part(folder: Path, training: Distillation, note: Mapping[str, str] | None = None) -> Path:
    """Write a checkpoint of a training, with further texts in its header; return its file.

    Raises:
        OSError: it cannot be written.
    """
    tensors, plain = training.state()
    path = folder / PART.format(training.passes_done)
    write_tensors(path, tensors, {"plain": json.dumps(plain), **(note or {})})
    return path


def read_part(path: Path, training: Distillation) -> None:
    """Let a training go on from a checkpoint whose content has been checked elsewhere."""
    tensors, header = read_safetensors(path)
    training.load_state(tensors, json.loads(header["plain"]))


def write_sealed_part(folder: Path, training: Distillation, key: str) -> Path:
    """Write a checkpoint that says what it belongs to and carries its own hash.

    Raises:
        CheckpointError: it cannot be written.
    """
    sha256 = digest_tensors(sorted(training.state()[0].items()))
    try:
        return write_part(folder, training, {"key": key, "sha256": sha256})
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written ({error}); free some space") from error


def read_sealed_part(path: Path, training: Distillation, key: str) -> None:
    """Let a training go on from what `write_sealed_part` wrote.

    Raises:
        CheckpointError: it is damaged, or belongs to another training.
    """
    try:
        tensors, header = read_safetensors(path)
        if header["key"] != key:
            raise ValueError("it belongs to other weights, pictures or settings")
        if digest_tensors(sorted(tensors.items())) != header["sha256"]:
            raise ValueError("its content is not what was written")
        training.load_state(tensors, json.loads(header["plain"]))
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be used ({error}); remove {path.parent} to begin again, or"
            " give the options that it was made with"
        ) from error
