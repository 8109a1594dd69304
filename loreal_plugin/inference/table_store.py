"""What inference modes compute once: statistics of training images, series of text features.

`<checkpoint folder>/inference/<kind>-<key>` is an entry of the verified store. The key is a hash of
what it belongs to (meta-nets, what beta learned, CLIP, prompts, settings), so tables of another
checkpoint are never used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from loreal_plugin.errors import CheckpointError
from loreal_plugin.files.store import VerifiedStore, store_key

FOLDER = "inference"
TABLES_VERSION = 1


class TableStore:
    """The folder of one checkpoint's tables; files are written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._store = VerifiedStore(folder, "inference table")

    def read(
        self, kind: str, ingredients: Mapping[str, Any]
    ) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return tensors and facts of these ingredients, None where none can be used.

        A damaged table, or one of another checkpoint, is warned of.
        """
        complete = _with_version(ingredients)
        return self._store.read(_name(kind, complete), complete)

    def write(
        self,
        kind: str,
        ingredients: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        facts: Mapping[str, Any],
    ) -> Path:
        """Write tensors, what they belong to and facts about them; return the path of the JSON.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        complete = _with_version(ingredients)
        name = _name(kind, complete)
        try:
            return self._store.write(name, complete, tensors, facts)
        except OSError as error:
            raise CheckpointError(
                f"inference table {self.folder / name} cannot be written: {error}"
            ) from error

    def remove(self, kind: str, ingredients: Mapping[str, Any]) -> None:
        """Remove the files of these ingredients where they are."""
        self._store.remove(_name(kind, _with_version(ingredients)))


def _name(kind: str, complete: Mapping[str, Any]) -> str:
    return f"{kind}-{store_key(complete, 16)}"


def _with_version(ingredients: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ingredients with the version of these files."""
    return {**ingredients, "tables": TABLES_VERSION}
