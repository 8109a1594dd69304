"""What is printed: it cannot steer a terminal, and counts have the number of their noun.

Control characters of names are shown, not sent. Names of files and classes come from elsewhere. A
terminal takes some characters in them for commands: to clear the screen, to set its title, to write
over a line, to turn the text around. Bytes of a file's name that are no UTF-8 are shown, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

Say = Callable[[str], None]  # where lines of progress go, `say_line` or another

EXIT_BROKEN_PIPE = 141  # as shells say SIGPIPE
# C0 without tab, line feed and carriage return (bars go back to the line's start), DEL, C1
_CONTROLS = {*range(32), *range(127, 160)} - {9, 10, 13}
# these turn the direction of the text, or end a line for some readers
_DIRECTIONS = {0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)}
_UP = "\x1b[A"  # alone: a bar below another one goes back to its line
_SHOWN = {code: ascii(chr(code))[1:-1] for code in _CONTROLS | _DIRECTIONS}


def shown(text: str) -> str:
    """Return a text with its control characters written out, `\\x1b` for an escape.

    Python has a byte of a name that is no UTF-8 as a half of a surrogate pair, here `\\udce9`.
    """
    if text.isascii() and text.isprintable():
        return text
    return text.translate(_SHOWN).encode("utf-8", "backslashreplace").decode("utf-8")


def counted(count: int, one: str) -> str:
    """Return a count with its noun: `1 thread`, `2 threads`, `0 classes`."""
    return f"{count} {one}" if count == 1 else f"{count} {one}{'es' if one.endswith('s') else 's'}"


class PlainStream:
    """A text stream that writes control characters out, and what its encoding does not have; all
    else is the stream's own.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text; return how many characters it has."""
        plain = shown(text) if text.replace(_UP, "").strip() else text
        try:
            self._stream.write(plain)
        except UnicodeEncodeError as error:
            self._stream.write(plain.encode(error.encoding, "backslashreplace").decode())
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
