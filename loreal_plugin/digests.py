"""Hashes of values and files. Keys of stages and caches are made of them: they never change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20


def digest(value: Any, *, spaced: bool = False, escaped: bool = False) -> str:
    """Return the SHA-256 of a value's JSON with sorted keys.

    Args:
        spaced: a space after each `,` and `:`.
        escaped: letters outside ASCII as `\\uXXXX`.
    """
    separators = None if spaced else (",", ":")
    text = json.dumps(value, sort_keys=True, separators=separators, ensure_ascii=escaped)
    # bytes of a name that are no UTF-8 become the escapes that JSON has for them
    return digest_bytes(text.encode("utf-8", "backslashreplace"))


def digest_bytes(content: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def digest_file(path: Path | str, kind: str = "sha256") -> str:
    """Return the SHA-256 of a file's content, read block by block.

    Args:
        kind: another hash of hashlib: publishers of data sets often give `md5` alone.

    Raises:
        OSError: it cannot be read.
    """
    whole = hashlib.new(kind, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            whole.update(block)
    return whole.hexdigest()


def digest_sources(files: Iterable[tuple[Path, Path]]) -> str:
    """Return the SHA-256 over names below a root and contents of `(root, file)`, in this order.

    Raises:
        OSError: one cannot be read.
    """
    whole = hashlib.sha256()
    for root, file in files:
        whole.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return whole.hexdigest()
