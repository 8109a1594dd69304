"""State that a trainer keeps beside its models: weight averages over epochs, memories of texts.

The family's checkpoints hold the registered models, their optimisers and schedules, and nothing
else. A trainer that also learns in an attribute of its own would silently go on without it.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from loreal_plugin.contract.base import bare_model

# elements; larger tensors are told apart by where they lie and how often they were written
_SUMMED = 10_000_000
_DASSL = ("_models", "_optims", "_scheds")
_DEPTH = 3  # containers and objects within one another that are looked into
# what these make is no state of a method: loaders, evaluators, writers, options
_LIBRARIES = ("torch", "torchvision", "dassl", "yacs", "tensorboard", "PIL", "loreal_plugin")
Array = Tensor | np.ndarray


def outside_checkpoint(trainer: Any) -> dict[str, tuple[Any, ...]]:
    """Return what tells the state of each attribute with tensors that no checkpoint holds, by name.

    Looks into containers, modules, and objects of the trainer's own (averages in an `EMA`, say).
    Attributes that a training leaves alone (a frozen teacher) stay equal from call to call.
    """
    saved = _saved(trainer)
    found = {}
    for name, value in vars(trainer).items():
        arrays = [] if name in _DASSL else _arrays(value)
        marks = tuple(_mark(one) for one in arrays if id(one) not in saved)
        if marks:
            found[name] = marks
    return found


def _saved(trainer: Any) -> set[int]:
    """Return the identities of all tensors of checkpoints, and of what the model never trains."""
    saved: set[int] = set()
    for model in getattr(trainer, "_models", {}).values():
        saved |= {id(value) for value in (*model.parameters(), *model.buffers())}
    whole = bare_model(trainer)  # the host registers its learned part alone
    if whole is not None:
        saved |= {id(value) for value in whole.parameters()}
    for optimizer in getattr(trainer, "_optims", {}).values():
        saved |= {id(value) for value in _arrays(getattr(optimizer, "state", {}))}
    return saved


def changed_names(
    before: Mapping[str, tuple[Any, ...]], now: Mapping[str, tuple[Any, ...]]
) -> list[str]:
    """Return the attributes whose tensors changed between two calls of `outside_checkpoint`."""
    return sorted(name for name in now if now[name] != before.get(name))


def state_of(trainer: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the attributes that a row names, to be kept beside a checkpoint."""
    return {name: _stored(getattr(trainer, name, None)) for name in names}


def restore_state(trainer: Any, state: Mapping[str, Any]) -> None:
    """Put kept attributes back.

    What has `load_state_dict` and objects of a class take what they held; anything else is
    replaced.
    """
    device = getattr(trainer, "device", "cpu")
    for name, value in state.items():
        there = getattr(trainer, name, None)
        load = getattr(there, "load_state_dict", None)
        if load is not None:
            load(value)
        elif _is_object(there):
            vars(there).update(_moved(value, device))
        else:
            setattr(trainer, name, _moved(value, device))


def _arrays(value: Any, depth: int = 0) -> Iterator[Array]:
    """Give the tensors and arrays of a value: its own, of its parts, of a module or an object."""
    if isinstance(value, (Tensor, np.ndarray)):
        yield value
    elif isinstance(value, nn.Module):
        yield from value.parameters()
        yield from value.buffers()
    elif depth < _DEPTH:
        for part in _parts(value):
            yield from _arrays(part, depth + 1)


def _parts(value: Any) -> Iterator[Any]:
    """Give what a container or an object holds; nothing of an object of a library."""
    if isinstance(value, Optimizer):  # one that the trainer did not register is state, too
        yield from value.state.values()
    elif isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, (list, tuple, deque, set)):
        yield from value
    elif _is_object(value):
        yield from vars(value).values()


def _is_object(value: Any) -> bool:
    """Return whether a value is an object of a class of somebody's own, with attributes."""
    kind = type(value)
    return (
        hasattr(value, "__dict__")
        and not isinstance(value, (type, nn.Module, Mapping))
        and not inspect.isroutine(value)
        and kind.__module__ != "builtins"
        and kind.__module__.split(".")[0] not in _LIBRARIES
    )


def _mark(value: Array) -> tuple[Any, ...]:
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes() if value.dtype != object else None
    total = float(value.detach().double().sum()) if value.numel() <= _SUMMED else None
    return tuple(value.shape), value.data_ptr(), value._version, total


def _stored(value: Any) -> Any:
    """Return a value as a file of tensors, numbers, texts and containers can hold it."""
    if hasattr(value, "state_dict"):
        return dict(value.state_dict())
    if isinstance(value, np.ndarray):
        return {_ARRAY: torch.from_numpy(value.copy())}
    if isinstance(value, Mapping):
        return {name: _stored(part) for name, part in value.items()}
    if isinstance(value, deque):
        return {_QUEUE: [_stored(part) for part in value], "longest": value.maxlen}
    if isinstance(value, (list, tuple)):
        return type(value)(_stored(part) for part in value)
    if not _is_object(value):
        return value
    # a model that an object points at is the trainer's own and in its checkpoint
    return {k: _stored(v) for k, v in vars(value).items() if not isinstance(v, nn.Module)}


_ARRAY, _QUEUE = "numpy array", "deque"  # keys under which these two are stored


def _moved(value: Any, device: Any) -> Any:
    """Return what `_stored` made of a value as it was, tensors on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping) and _ARRAY in value:
        return value[_ARRAY].cpu().numpy()
    if isinstance(value, Mapping) and _QUEUE in value:
        return deque((_moved(part, device) for part in value[_QUEUE]), value["longest"])
    if isinstance(value, Mapping):
        return {name: _moved(part, device) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(part, device) for part in value)
    return value
