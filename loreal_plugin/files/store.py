"""The verified store: tensors, and a note that says what they belong to.

An entry is `<name>.safetensors` and `<name>.json`. The note is written last. It has what the
tensors were made from (`ingredients`), the hash of their file (`sha256`) and facts about them.
Ingredients and hash are compared on read: a damaged entry, or one of something else, is never used.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from loreal_plugin.digests import digest, digest_file
from loreal_plugin.files.atomic import replacing
from loreal_plugin.files.checked_json import OLD, checked_bytes, read_checked
from loreal_plugin.files.tensors import write_tensors


def as_json(ingredients: Mapping[str, Any]) -> dict[str, Any]:
    """Return ingredients in JSON's own types, as they are compared with a note's."""
    return json.loads(json.dumps(ingredients))


def store_key(ingredients: Mapping[str, Any], length: int) -> str:
    """Return the first `length` digits of the hash of ingredients."""
    return digest(as_json(ingredients), spaced=True, escaped=True)[:length]


@dataclass(frozen=True)
class VerifiedStore:
    """A folder of entries.

    Args:
        folder: made by the first write.
        what: what warnings call an entry, for example `embedding cache`.
    """

    folder: Path
    what: str

    def read(
        self, name: str, ingredients: Mapping[str, Any]
    ) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return tensors and facts, or None where there are none that can be used.

        Nothing there is a normal answer; a damaged entry, or one of other ingredients, is warned
        of.
        """
        array, note = self._paths(name)
        if not note.is_file():
            return None
        try:
            written, fault = read_checked(note)
            if fault and fault != OLD:
                raise ValueError(f"its note {fault}")
            if written["ingredients"] != as_json(ingredients):
                raise ValueError("it belongs to something else")
            if digest_file(array) != written["sha256"]:
                raise ValueError("its hash differs")
            return load_file(str(array)), written.get("facts", {})
        except Exception as error:  # whatever is wrong with an entry, it can be made again
            warnings.warn(f"{self.what} {array} is broken ({error}); making it again", stacklevel=3)
            return None

    def write(
        self,
        name: str,
        ingredients: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        facts: Mapping[str, Any],
    ) -> Path:
        """Write an entry and return the path of its note.

        Raises:
            OSError: the folder cannot be written (disk full, no permission).
        """
        array, note = self._paths(name)
        note.unlink(missing_ok=True)  # an old note must not stand beside a new array
        content = {
            "sha256": write_tensors(array, tensors),
            "ingredients": as_json(ingredients),
            "facts": dict(facts),
        }
        with replacing(note) as part:
            part.write_bytes(checked_bytes(content))
        return note

    def remove(self, name: str) -> None:
        """Remove an entry where it is, the note first: without it there is no entry."""
        array, note = self._paths(name)
        note.unlink(missing_ok=True)
        array.unlink(missing_ok=True)

    def _paths(self, name: str) -> tuple[Path, Path]:
        return self.folder / f"{name}.safetensors", self.folder / f"{name}.json"
