"""What inference modes compute once: statistics of the training images, expansions of text
features.

`<checkpoint folder>/inference/<kind>-<key>.safetensors` has tensors, the JSON beside it what they
belong to. The key is a hash of these ingredients (meta-nets, what beta learned, CLIP, prompts,
settings), all of which are compared again on read, with the file's own hash: tables of another
checkpoint are never used.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from loreal_plugin.errors import CheckpointError

FOLDER = "inference"
TABLES_VERSION = 1


def digest_tensors(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return a SHA-256 over names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, value in tensors:
        value = value.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class TableStore:
    """The folder of one checkpoint's tables; files are written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(
        self, kind: str, ingredients: Mapping[str, Any]
    ) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return tensors and facts of these ingredients; None where there are none, or (with a
        warning) broken ones.
        """
        array, note = self._paths(kind, ingredients)
        if not note.is_file():
            return None
        try:
            written = json.loads(note.read_text(encoding="utf-8"))
            if written["ingredients"] != _complete(ingredients):
                raise ValueError("it belongs to another checkpoint")
            if hashlib.sha256(array.read_bytes()).hexdigest() != written["sha256"]:
                raise ValueError("its hash differs")
            return load_file(str(array)), written["facts"]
        except Exception as error:  # whatever is wrong with a table, it can be made again
            warnings.warn(
                f"inference table {array} cannot be used ({error}); making it again", stacklevel=2
            )
            return None

    def write(
        self,
        kind: str,
        ingredients: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        facts: Mapping[str, Any],
    ) -> Path:
        """Write tensors, and JSON with what they belong to and facts about them; return the JSON's
        path.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        array, note = self._paths(kind, ingredients)
        parts = [path.with_name(f"{path.name}.{os.getpid()}.part") for path in (array, note)]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            note.unlink(missing_ok=True)
            save_file(
                {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
                str(parts[0]),
            )
            content = {
                "sha256": hashlib.sha256(parts[0].read_bytes()).hexdigest(),
                "ingredients": _complete(ingredients),
                "facts": dict(facts),
            }
            parts[1].write_text(
                json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8"
            )
            for part, path in zip(parts, (array, note), strict=True):
                os.replace(part, path)
        except Exception as error:  # safetensors reports a full disk by its own exception class
            raise CheckpointError(f"inference table {array} cannot be written: {error}") from error
        finally:
            for part in parts:
                with suppress(OSError):
                    part.unlink()
        return note

    def remove(self, kind: str, ingredients: Mapping[str, Any]) -> None:
        """Remove the files of these ingredients where they are."""
        for path in self._paths(kind, ingredients):
            path.unlink(missing_ok=True)

    def _paths(self, kind: str, ingredients: Mapping[str, Any]) -> tuple[Path, Path]:
        key = hashlib.sha256(
            json.dumps(_complete(ingredients), sort_keys=True).encode()
        ).hexdigest()[:16]
        return self.folder / f"{kind}-{key}.safetensors", self.folder / f"{kind}-{key}.json"


def _complete(ingredients: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ingredients with the version of these files, in JSON's own types."""
    return json.loads(json.dumps({**ingredients, "tables": TABLES_VERSION}))
