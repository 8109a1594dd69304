"""The transcript of a mining run: every question and answer as a line of JSON, appended at once.

It is all the state there is. An interrupted run asks only what has no usable answer in it; a replay
asks nothing. It never holds keys, headers or addresses beyond the host's name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import Timeout

from loreal_plugin.errors import MiningError
from loreal_plugin.files import digest
from loreal_plugin.files.locks import shared_lock

SCHEMA_VERSION = 1


def request_key(request: dict[str, Any]) -> str:
    """Return the fingerprint of a question: the same question has the same answer."""
    return digest(request, spaced=True)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep a transcript to this process; what a killed one held is free again.

    Raises:
        MiningError: another run writes it, or its folder cannot be written.
    """
    lock = shared_lock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise MiningError(
            f"another run is writing transcript {path}; wait for it, or name another file with"
            " --transcript"
        ) from error
    except OSError as error:
        raise MiningError(f"transcript {path} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


class Transcript:
    """Reads and appends one file.

    Args:
        path: the file; it need not be there.
        scrub: cleans every line of secrets before it is written.
        read_only: a replay changes nothing.
    """

    def __init__(
        self,
        path: Path,
        *,
        scrub: Callable[[str], str] = lambda text: text,
        read_only: bool = False,
    ) -> None:
        self.path, self.scrub, self.read_only = path, scrub, read_only
        self.task: dict[str, Any] | None = None
        self.answers: dict[str, dict[str, Any]] = {}
        self.damaged = 0
        if path.exists():
            self._read()

    def _read(self) -> None:
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise MiningError(f"transcript {self.path} cannot be read: {error.strerror}") from error
        for line in filter(str.strip, lines):
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                # The last line of a run that was killed while it wrote.
                self.damaged += 1
                continue
            if not isinstance(entry, dict) or entry.get("schema_version") != SCHEMA_VERSION:
                raise MiningError(
                    f"{self.path} is no transcript of this version (line: {line[:60]!r}); move it"
                    " away or name another"
                )
            self._take(entry)

    def _take(self, entry: dict[str, Any]) -> None:
        """Update what is known by one entry."""
        if "task" in entry:
            self.task = entry["task"]
        elif "discard" in entry:
            self.answers.pop(entry["discard"], None)
        elif "answer" in entry:
            self.answers[entry["key"]] = entry

    def append(self, **entry: Any) -> None:
        """Write one entry to the disk before anything else happens.

        Raises:
            MiningError: it cannot be written.
        """
        if self.read_only:
            return
        entry = {"schema_version": SCHEMA_VERSION, "time": now(), **entry}
        line = self.scrub(json.dumps(entry, ensure_ascii=False))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                # A line that was cut off must not swallow the next one.
                if file.tell() and not _ends_with_newline(file):
                    file.write(b"\n")
                file.write(line.encode("utf-8", errors="replace") + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise MiningError(
                f"transcript {self.path} cannot be written: {error.strerror}"
            ) from error
        self._take(json.loads(line))

    def begin(self, task: dict[str, Any]) -> None:
        """Note what is mined, so that a replay needs nothing but this file."""
        if task != self.task:
            self.append(task=task)

    def discard(self, key: str, why: str) -> None:
        """Mark an answer as unusable: the next run asks again."""
        if key in self.answers:
            self.append(discard=key, why=why)


def _ends_with_newline(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
