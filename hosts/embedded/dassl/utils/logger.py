"""A copy of everything printed, in a log file."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any


class Logger:
    """Stands in for `sys.stdout`: writes to the stream it found there (`console`) and to a file.

    Anything else asked of it (`isatty`, `encoding`, ...) is answered by the console. `close` ends
    the file and puts the console back; it never closes the console, which is not ours.
    """

    def __init__(self, fpath: str | os.PathLike[str] | None = None) -> None:
        self.console = sys.stdout
        self.file = None
        if fpath is not None:
            Path(fpath).parent.mkdir(parents=True, exist_ok=True)
            # line buffered: a killed run keeps every complete line
            self.file = open(fpath, "w", encoding="utf-8", buffering=1)

    def write(self, msg: str) -> int:
        """Write `msg` to both places; return the number of characters."""
        for place in (self.console, self.file):
            if place is not None:
                place.write(msg)
        return len(msg)

    def flush(self) -> None:
        """Push both places to their destinations."""
        self.console.flush()
        if self.file is not None:
            self.file.flush()

    def close(self) -> None:
        """End the file and give `sys.stdout` back to the console; a second call does nothing."""
        if self.file is not None:
            self.file.close()
            self.file = None
        if sys.stdout is self:
            sys.stdout = self.console

    def __enter__(self) -> Logger:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        if name in ("console", "file"):  # not built yet: no console to ask
            raise AttributeError(name)
        return getattr(self.console, name)


def setup_logger(output: str | os.PathLike[str] | None = None) -> None:
    """Log into `output`, a .txt or .log file or a folder that gets `log.txt`; None does nothing.

    A log that is there already is kept: the new one gets the date and time as a suffix. A logger
    that is active is closed first, so that the log of one run never ends up in another run's file.
    """
    if output is None:
        return
    target = Path(output)
    if target.suffix not in (".txt", ".log"):
        target = target / "log.txt"
    if target.exists():
        target = target.with_name(target.name + time.strftime("-%Y-%m-%d-%H-%M-%S"))
    if isinstance(sys.stdout, Logger):
        sys.stdout.close()
    sys.stdout = Logger(target)
