"""Reading a host's checkpoint without running anything that is pickled in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.errors import CheckpointError
from loreal_plugin.files.sealed import Plain, UnsafeFileError, tensors_and_containers
from loreal_plugin.files.torch_files import named_by, read_torch

TRUSTED = "LOREAL_UNPICKLE"


class _Inert(Plain):
    """Stands for any pickled object that is not needed: takes anything, does nothing."""

    __slots__ = ()

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        super().__init__()

    def append(self, _item: Any) -> None:
        """Leave the item out."""

    def extend(self, _items: Any) -> None:
        """Leave the items out."""


def _others_inert(module: str, name: str) -> Any:
    """Return what a pickle names; all that is no tensor or container becomes inert."""
    try:
        return tensors_and_containers(module, name)
    except UnsafeFileError:
        return _Inert


def read_host_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return a Dassl checkpoint on the CPU, read as `read_saved` does.

    Raises:
        CheckpointError: the file is missing, truncated or no checkpoint.
    """
    content = read_saved(path)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(
        isinstance(value, Tensor) for value in state.values()
    ):
        raise CheckpointError(
            f"{path} is no Dassl checkpoint: it has no 'state_dict' of tensors. If its tensors are"
            f" inside other objects, unpickling runs code of the file: name it in {TRUSTED} only if"
            " you trust it"
        )
    return content


def read_saved(path: str | Path) -> Any:
    """Return what torch.save wrote, on the CPU: tensors, numbers, texts, containers; nothing else.

    Dassl's checkpoints carry a pickled learning-rate scheduler. It is left out, and nothing of the
    file is executed. Only files that the user names in `LOREAL_UNPICKLE` (paths, separated as in
    PATH) are unpickled fully.

    Raises:
        CheckpointError: the file is missing, truncated or not written by torch.save.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} is not there")
    try:
        if named_by(TRUSTED, path):
            print(
                f"{path} is unpickled fully, because {TRUSTED} names it: this runs whatever code it"
                " holds"
            )
            return torch.load(path, map_location="cpu", weights_only=False)
        return read_torch(path, _others_inert)
    except UnsafeFileError as error:
        raise CheckpointError(f"checkpoint {path} is refused: {error}") from error
    except Exception as error:  # Python's and torch's readers fail in many ways on damaged files
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({error}); was it cut short?"
        ) from error
