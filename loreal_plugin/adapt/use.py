"""A student with an adapted image side: updates from a file, merged into tensors of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from loreal_plugin.adapt.files import adaptation_file, read_adaptation, settings_of
from loreal_plugin.adapt.tower import adapt
from loreal_plugin.errors import CheckpointError
from loreal_plugin.students.student import Student


def use_adaptation(
    student: Student, tensors: Mapping[str, Tensor], note: Mapping[str, Any], weights: str = ""
) -> None:
    """Merge updates into a student's image side; what it shares with another stays as it was.

    Args:
        note: what the updates belong to.
        weights: fingerprint of the student's CLIP weights; empty: the caller has compared them.

    Raises:
        CheckpointError: they belong to another input size, method, enlargement or other weights.
    """
    row = student.contract
    mine = {"phi": student.input_size, "method": row.method if row.learns_images else "CLIP"}
    differ = [f"{k} {note[k]}, here {v}" for k, v in mine.items() if note[k] != v]
    enlarge, size = settings_of(note).enlarge or note["phi"], student.encoder_size
    if enlarge != size:
        differ.append(f"pictures enlarged to {enlarge}, here {size}")
    if weights and weights != (made_for := note.get("weights", weights)):
        differ.append(f"CLIP weights {made_for[:12]}, here {weights[:12]}")
    if differ:
        raise CheckpointError(
            f"the adaptation was made for {'; for '.join(differ)}; train one for this run"
        )
    adaptation = adapt(student, settings_of(note))
    adaptation.load(tensors)
    adaptation.merge()
    student.adaptation = dict(tensors)


def use_adaptation_of(student: Student, folder: Path, weights: str) -> dict[str, Any]:
    """Merge the adaptation of a stage's folder into a student; return what it belongs to.

    Raises:
        CheckpointError: see `use_adaptation`; or there is none, or it is damaged.
    """
    tensors, note = read_adaptation(adaptation_file(folder))
    use_adaptation(student, tensors, note, weights)
    return note


def enlarge_setting(folder: Path) -> int:
    """Return the side to which the pupil of a stage's folder enlarges pictures; 0: it does not.

    Raises:
        CheckpointError: there is no adaptation, or it is damaged.
    """
    return settings_of(read_adaptation(adaptation_file(folder))[1]).enlarge
