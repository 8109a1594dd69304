"""JSON files beside the pictures: written whole or not at all, read with errors that name them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loreal_plugin.errors import DataError
from loreal_plugin.files import is_read_only, replacing


def read_json_file(path: Path, what: str) -> object:
    """Return the content of a JSON file.

    Raises:
        DataError: it cannot be read or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{what} {path} cannot be read ({error}); restore it, or delete it to draw it again"
        ) from error


def read_lines(path: Path, what: str) -> list[str]:
    """Return the non-empty lines of a text file, stripped.

    Raises:
        DataError: it is missing or no text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(
            f"{what} {path} cannot be read ({error}); see docs/DATASETS.md for the layout"
        ) from error
    return [line.strip() for line in lines if line.strip()]


class Saves:
    """Files that are to be written once everything else has been found in order."""

    def __init__(self) -> None:
        self.waiting: dict[Path, object] = {}

    def commit(self) -> None:
        """Write all of them; DataError where there is no room."""
        while self.waiting:
            _write(*reversed(self.waiting.popitem()))


_held: Saves | None = None  # inside `saves_held_back`


@contextmanager
def saves_held_back() -> Iterator[Saves]:
    """Let `save_json_file` only note what it would write inside; `commit` of the result writes it.

    So a data folder in which a broken picture is found later is left as it is. What is noted was
    drawn with a fixed seed: until it is written, it can be drawn again.
    """
    global _held
    before, _held = _held, Saves()
    try:
        yield _held
    finally:
        _held = before


def save_json_file(content: object, path: Path) -> bool:
    """Write a JSON file atomically; return False where the place may only be read.

    A read-only data folder is no obstacle: what is saved here was drawn with a fixed seed and can
    be drawn again.

    Raises:
        DataError: writing failed for another reason (disk full, ...); nothing is left behind.
    """
    if _held is not None:
        _held.waiting[path] = content
        return os.access(path.parent if path.parent.is_dir() else path.parent.parent, os.W_OK)
    return _write(content, path)


def _write(content: object, path: Path) -> bool:
    """Write a JSON file atomically; see `save_json_file`."""
    try:
        # names that are no UTF-8: as `files.write_text`
        with (
            replacing(path) as part,
            open(part, "w", encoding="utf-8", errors="backslashreplace") as file,
        ):
            json.dump(content, file, ensure_ascii=False, indent=1)
    except OSError as error:
        if is_read_only(error):
            return False
        raise DataError(
            f"{path} cannot be written ({error.strerror}); make room and run again"
        ) from error
    return True
