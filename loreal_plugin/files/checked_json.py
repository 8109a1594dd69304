"""JSON objects that carry the hash of their own file, so that any changed bit is seen.

The first entry is `checked`, the last `own_sha256`: the SHA-256 of the file with 64 zeros in its
place. Two entries, because a bit may be flipped in a name, too. Files of earlier releases have
neither; they are read as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loreal_plugin.digests import digest_bytes
from loreal_plugin.files.atomic import write_bytes

CHECKED, OWN = "checked", "own_sha256"
OLD = "not verified: made before hashes were kept"
_ZEROS = b"0" * 64
_HASH = re.compile(rb'"own_sha256": "([0-9a-f]{64})"\n}\n\Z')


def checked_bytes(value: Mapping[str, Any]) -> bytes:
    """Return the file of an object with its own hash."""
    plain = {name: entry for name, entry in value.items() if name not in (CHECKED, OWN)}
    whole = {CHECKED: True, **plain, OWN: _ZEROS.decode()}
    text = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    content = text.encode("utf-8", "backslashreplace")  # as `atomic.write_text`
    start = len(content) - len(_ZEROS) - len(b'"\n}\n')
    own = digest_bytes(content).encode()
    return content[:start] + own + content[start + len(own) :]


def write_checked(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object with its own hash, whole or not at all.

    Raises:
        LorealError: it cannot be written (disk full, no permission).
    """
    write_bytes(path, checked_bytes(value))


def parse_checked(content: bytes) -> tuple[dict[str, Any], str]:
    """Return an object without its own hash, and what is wrong with it.

    The second is empty, `OLD` for a file without a hash, else a fault; the object is then empty.
    """
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return {}, f"is no JSON ({error})"
    if not isinstance(value, dict):
        return {}, "is no JSON object"
    found = _HASH.search(content)
    if found is None:
        marked = CHECKED in value or OWN in value
        return ({}, "is not what was written: its hash is gone") if marked else (value, OLD)
    zeroed = content[: found.start(1)] + _ZEROS + content[found.end(1) :]
    if digest_bytes(zeroed).encode() != found[1]:
        return {}, "is not what was written: its hash differs"
    del value[OWN]
    value.pop(CHECKED, None)
    return value, ""


def read_checked(path: Path) -> tuple[dict[str, Any], str]:
    """Return an object and what is wrong with it, as `parse_checked`; {} where there is no file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}, "is not there"
    except OSError as error:
        return {}, f"cannot be read: {error.strerror}"
    return parse_checked(content)
