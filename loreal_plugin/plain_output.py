"""What is printed: it cannot steer a terminal, and counts have the number of their noun.

Control characters of names are shown, not sent. Names of files and classes come from elsewhere. A
terminal takes some characters in them for commands: to clear the screen, to set its title, to write
over a line, to turn the text around.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

EXIT_BROKEN_PIPE = 141  # as shells say SIGPIPE
# C0 without tab, line feed and carriage return (bars go back to the line's start), DEL, C1
_CONTROLS = {*range(32), *range(127, 160)} - {9, 10, 13}
# these turn the direction of the text, or end a line for some readers
_DIRECTIONS = {0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)}
_UP = "\x1b[A"  # alone: a bar below another one goes back to its line
_SHOWN = {code: ascii(chr(code))[1:-1] for code in _CONTROLS | _DIRECTIONS}


def shown(text: str) -> str:
    """Return a text with its control characters written out, `\\x1b` for an escape."""
    return text if text.isascii() and text.isprintable() else text.translate(_SHOWN)


def counted(count: int, one: str) -> str:
    """Return a count with its noun: `1 thread`, `2 threads`, `0 classes`."""
    return f"{count} {one}" if count == 1 else f"{count} {one}{'es' if one.endswith('s') else 's'}"


class PlainStream:
    """A text stream that writes control characters out; all else is the stream's own."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text; return how many characters it has."""
        self._stream.write(shown(text) if text.replace(_UP, "").strip() else text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts."""
        for line in lines:
            self.write(line)


def say_line(text: str) -> None:
    """Print one line of progress at once."""
    print(text, flush=True)


def reader_gone() -> int:
    """Return the exit code of a command whose reader (`head`, a pager) has gone.

    Standard output then leads nowhere: the interpreter must not try to flush to it at its end.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_BROKEN_PIPE


@contextmanager
def plain_output() -> Iterator[None]:
    """Write out the control characters in all that is printed inside, errors included."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = PlainStream(before[0]), PlainStream(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
