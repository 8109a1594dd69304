"""State that a trainer keeps beside its models: weight averages over epochs, memories of texts.

The family's checkpoints hold the registered models, their optimisers and schedules, and nothing
else. A trainer that also learns in an attribute of its own would silently go on without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from loreal_plugin.contract.base import bare_model

# elements; larger tensors are told apart by where they lie and how often they were written
_SUMMED = 10_000_000
_DASSL = ("_models", "_optims", "_scheds")


def outside_checkpoint(trainer: Any) -> dict[str, tuple[Any, ...]]:
    """Return what tells the state of each attribute with tensors that no checkpoint holds, by name.

    Attributes that a training leaves alone (a frozen teacher) stay equal from call to call.
    """
    models = [*getattr(trainer, "_models", {}).values(), bare_model(trainer)]
    saved = {id(value) for one in models if one is not None for value in one.parameters()}
    found = {}
    for name, value in vars(trainer).items():
        tensors = [] if name in _DASSL else list(_tensors(value))
        if tensors and not any(id(one) in saved for one in tensors):
            found[name] = tuple(map(_mark, tensors))
    return found


def changed_names(
    before: Mapping[str, tuple[Any, ...]], now: Mapping[str, tuple[Any, ...]]
) -> list[str]:
    """Return the attributes whose tensors changed between two calls of `outside_checkpoint`."""
    return sorted(name for name in now if now[name] != before.get(name))


def state_of(trainer: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the attributes that a row names, to be kept beside a checkpoint."""
    return {name: _stored(getattr(trainer, name, None)) for name in names}


def restore_state(trainer: Any, state: Mapping[str, Any]) -> None:
    """Put kept attributes back; a module takes the tensors, anything else is replaced."""
    for name, value in state.items():
        there = getattr(trainer, name, None)
        if isinstance(there, nn.Module):
            there.load_state_dict(value)
        else:
            setattr(trainer, name, _moved(value, getattr(trainer, "device", "cpu")))


def _tensors(value: Any, depth: int = 0) -> Iterator[Tensor]:
    """Give the tensors of a value: its own, of its containers, or of a module."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, nn.Module):
        yield from value.parameters()
        yield from value.buffers()
    elif isinstance(value, Mapping) and depth < 3:
        for part in value.values():
            yield from _tensors(part, depth + 1)
    elif isinstance(value, (list, tuple)) and depth < 3:
        for part in value:
            yield from _tensors(part, depth + 1)


def _mark(value: Tensor) -> tuple[Any, ...]:
    total = float(value.detach().double().sum()) if value.numel() <= _SUMMED else None
    return tuple(value.shape), value.data_ptr(), value._version, total


def _stored(value: Any) -> Any:
    return dict(value.state_dict()) if isinstance(value, nn.Module) else value


def _moved(value: Any, device: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {name: _moved(part, device) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(part, device) for part in value)
    return value
