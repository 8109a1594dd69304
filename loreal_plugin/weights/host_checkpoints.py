"""Reading a host's checkpoint without running anything that is pickled in it."""

from __future__ import annotations

import collections
import os
import pickle
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.errors import CheckpointError

TRUSTED = "LOREAL_UNPICKLE"


def _empty_dict(*_factory: Any) -> dict:
    return {}


_ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): _empty_dict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}


class _Inert(dict):
    """Stands for any pickled object that is not needed: takes anything, does nothing."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        super().__init__()

    def __setstate__(self, _state: Any) -> None:
        return None

    def append(self, _item: Any) -> None:
        return None

    def extend(self, _items: Any) -> None:
        return None


class _TensorsOnly(pickle.Unpickler):
    """Builds tensors and containers; all else that a file names becomes inert, never called."""

    def find_class(self, module: str, name: str) -> Any:
        return _ALLOWED.get((module, name), _Inert)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
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

    Dassl's checkpoints carry a pickled learning-rate scheduler. torch refuses such files, rightly;
    here the scheduler is left out and nothing of the file is executed. Only files that the user
    names in `LOREAL_UNPICKLE` (paths, separated as in PATH) are unpickled fully.

    Raises:
        CheckpointError: the file is missing, truncated or not written by torch.save.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} is not there")
    if path.resolve() in _trusted():
        print(
            f"{path} is unpickled fully, because {TRUSTED} names it: this runs whatever code it"
            " holds"
        )
        return _guarded(path, weights_only=False)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        return _guarded(path, weights_only=False, pickle_module=_inert_pickle())
    except Exception as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({error}); was it cut short?"
        ) from error


def _trusted() -> set[Path]:
    named = os.environ.get(TRUSTED, "").split(os.pathsep)
    return {Path(name).expanduser().resolve() for name in named if name}


def _inert_pickle() -> Any:
    return types.SimpleNamespace(
        __name__="pickle",
        Unpickler=_TensorsOnly,
        load=lambda file, **kwargs: _TensorsOnly(file, **kwargs).load(),
    )


def _guarded(path: Path, **how: Any) -> Any:
    try:
        return torch.load(path, map_location="cpu", **how)
    except Exception as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({error}); was it cut short?"
        ) from error
