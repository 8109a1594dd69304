"""Letting two students of the same CLIP hold its tensors once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from loreal_plugin.errors import HostError
from loreal_plugin.students.student import Student

_SHOWN = 5  # how many tensors that differ an error spells out


@dataclass(frozen=True)
class SharingReport:
    """How many tensors (and bytes) the students now share, and the names of the others."""

    n_shared: int
    bytes_shared: int
    not_shared: list[str]


def share_clip_tensors(alpha: Student, beta: Student) -> SharingReport:
    """Let `beta` use `alpha`'s memory for all tensors that are equal by construction.

    That is all but what was learned and the image positional embeddings. All of them are compared
    first; where two differ nothing is changed.

    Raises:
        HostError: the students are of different methods, devices or CLIP weights.

    Source: docs/METHOD.md, the two students.
    """
    pairs, not_shared = _pairs(alpha, beta)
    unused = alpha.contract.unused_tensors(alpha.model)
    different = [
        name
        for name, ours, theirs in pairs
        if name not in unused and not _same_values(ours, theirs)
    ]
    if different:
        more = f" and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
        raise HostError(
            f"students at {alpha.input_size} and {beta.input_size} pixels cannot share their CLIP:"
            f" {len(different)} of {len(pairs)} tensors differ:"
            f" {', '.join(different[:_SHOWN])}{more}; both need the same CLIP weights, precision"
            " and classes; of tensors that are no CLIP's the row says whether they are `learned` or"
            " `unused` (docs/ADD_A_HOST.md)"
        )
    moved = {theirs.data_ptr(): ours for _, ours, theirs in pairs if theirs.numel()}
    for _, ours, theirs in pairs:
        theirs.data = ours.data
    beta.token_weight = alpha.token_weight
    _follow_plain_tensors(beta.model, moved)
    n_bytes = sum(ours.numel() * ours.element_size() for _, ours, _ in pairs)
    return SharingReport(len(pairs), n_bytes, not_shared)


def _pairs(alpha: Student, beta: Student) -> tuple[list[tuple[str, Tensor, Tensor]], list[str]]:
    """Return (name, tensor of alpha, tensor of beta) to be shared, and the names left alone."""
    ours, theirs = dict(_tensors(alpha.model)), dict(_tensors(beta.model))
    if ours.keys() != theirs.keys():
        unpaired = sorted(ours.keys() ^ theirs.keys())
        raise HostError(
            f"the students' models differ in {len(unpaired)} tensors, first '{unpaired[0]}'; both"
            " need the same method and host settings"
        )
    learned = {id(value) for value in (*alpha.learned.values(), *beta.learned.values())}
    positions = alpha.contract.image_position_names(alpha.model)
    skipped = [name for name, value in ours.items() if id(value) in learned or name in positions]
    shared = [name for name in ours if name not in set(skipped)]
    pairs = [(name, ours[name], theirs[name]) for name in shared]
    return [*pairs, ("token_embedding.weight", alpha.token_weight, beta.token_weight)], skipped


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _same_values(ours: Tensor, theirs: Tensor) -> bool:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype or ours.device != theirs.device:
        return False
    return ours.data_ptr() == theirs.data_ptr() or torch.equal(ours, theirs)


def _follow_plain_tensors(model: nn.Module, moved: dict[int, Tensor]) -> None:
    """Replace plain attributes that are further references to moved tensors.

    Hosts keep prompt embeddings as a buffer here and as an attribute there (MMRL): without this the
    old storage would stay alive.
    """
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor) and value.data_ptr() in moved:
                ours = moved[value.data_ptr()]
                if ours.shape == value.shape:
                    setattr(module, name, ours.detach())
