"""Text files that are written whole or not at all, and parts of documents that a command fills in."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from loreal_plugin.errors import LorealError


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it.

    Raises:
        LorealError: it cannot be written (disk full, no permission).
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes it private; results are as readable as any other file
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise LorealError(
            f"cannot write {path}: {error.strerror or error}; free some space or set OUT"
        ) from error


def _umask() -> int:
    """Return the process's umask; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def replace_between(text: str, name: str, content: str) -> str:
    """Return a document with the part between `<!-- begin NAME -->` and `<!-- end NAME -->`
    replaced.

    Raises:
        LorealError: the document has no such part.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise LorealError(f"the document must have '{begin}' and '{end}' once each")
    head, rest = text.split(begin)
    return f"{head}{begin}\n{content.strip()}\n{end}{rest.split(end)[1]}"
