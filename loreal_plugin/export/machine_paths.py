"""Paths of the machine that trained a run, taken out of what is shared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

_BEGINS = ("/", "~", "./", "../")


def without_paths(value: Any, kept: Sequence[str] = ()) -> Any:
    """Return a value of JSON in which every path has its last part alone.

    Args:
        value: texts in lists and objects are looked at, too.
        kept: ends of paths that tell nothing about the machine and stay whole, such as the folder
            of a stage below OUT.
    """
    if isinstance(value, dict):
        return {name: without_paths(item, kept) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_paths(item, kept) for item in value]
    return _shortened(value, kept) if isinstance(value, str) else value


def _shortened(text: str, kept: Sequence[str]) -> str:
    windows = PureWindowsPath(text)
    if not text.startswith(_BEGINS) and not windows.drive:
        return text
    path = windows if windows.drive else PurePosixPath(text)
    for end in kept:
        if path.as_posix().endswith(f"/{end}"):
            return end
    return path.name
