"""An adaptation on disk: updates alone, as safetensors with what they belong to in the header.

`<folder>/loreal/adaptation.safetensors` is the finished one; from
`adaptation-<N>.part.safetensors` an interrupted training goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from loreal_plugin.adapt.settings import AdaptSettings
from loreal_plugin.errors import CheckpointError
from loreal_plugin.files.tensors import digest_tensors, read_safetensors, write_tensors

FOLDER = "loreal"
FINISHED = "adaptation.safetensors"
PART = "adaptation-{}.part.safetensors"  # after so many passes
HEADER = "loreal_adaptation"
VERSION = 1


def adaptation_file(folder: Path) -> Path:
    """Return where a stage's folder keeps its adaptation."""
    return folder / FOLDER / FINISHED


def write_adaptation(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """Write updates with what they belong to; return the SHA-256 of the tensors.

    Raises:
        CheckpointError: the file cannot be written (no space, no permission).
    """
    sha256 = digest_tensors(sorted(tensors.items()))
    note = {"version": VERSION, "sha256": sha256, **facts}
    try:
        write_tensors(path, tensors, {HEADER: json.dumps(note)})
    except OSError as error:
        raise CheckpointError(f"adaptation {path} cannot be written: {error}") from error
    return sha256


def read_adaptation(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return updates and what they belong to.

    Raises:
        CheckpointError: missing, damaged (its hash differs), or of another release.
    """
    if not path.is_file():
        raise CheckpointError(
            f"there is no adaptation {path}; train it with the run that it belongs to"
        )
    try:
        tensors, header = read_safetensors(path)
        note = json.loads(header[HEADER])
        if note["version"] != VERSION:
            raise ValueError(f"version {note['version']}, this release reads {VERSION}")
        if digest_tensors(sorted(tensors.items())) != note["sha256"]:
            raise ValueError("its content is not what was written")
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(
            f"adaptation {path} cannot be used ({error}); remove it and run the same command again"
        ) from error
    return tensors, note


def settings_of(note: Mapping[str, Any]) -> AdaptSettings:
    """Return the settings that an adaptation was made with."""
    return AdaptSettings(**note["settings"])


def as_stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return updates in half precision, as finished files keep them.

    A rounding of 1e-3 of an update is far below what a training's last steps change.
    """
    return {name: value.to(torch.float16) for name, value in tensors.items()}
