"""A stage's `log.txt` (the host's own logger) and the few lines of it that the console shows."""

from __future__ import annotations

import io
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

EVERY = 5.0  # seconds between two epoch lines on the console


class StageConsole:
    """What a host's logger takes for the console: passes warnings, and an epoch line now and then.

    `close` leaves the real console open: the hosts' logger closes its console when it is collected.
    """

    encoding = "utf-8"

    def __init__(
        self, console: TextIO, *, verbose: bool = False, tell: Callable[[str], str] = str
    ) -> None:
        self._console, self._verbose, self._tell = console, verbose, tell
        self._rest = ""  # of a line that has not ended yet
        self._last = -EVERY

    def write(self, text: str) -> int:
        """Take text in any pieces; whole lines are shown or dropped."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            # called for every line: it also reads the progress of those that are not shown
            text_shown = line if self._verbose else self._tell(line)
            if self._shows(line):
                self._console.write(f"{'' if self._verbose else '  '}{text_shown}\n")
                self._console.flush()
        return len(text)

    def _shows(self, line: str) -> bool:
        if self._verbose:
            return True
        if line.startswith("epoch ["):
            now = time.monotonic()
            due = now - self._last >= EVERY
            self._last = now if due else self._last
            return due
        return line.lower().startswith(("warning", "loreal"))

    def flush(self) -> None:
        """Flush the real console."""
        self._console.flush()

    def isatty(self) -> bool:
        """Return whether the real console is a terminal."""
        return self._console.isatty()

    def close(self) -> None:
        """Leave the real console open."""


@contextmanager
def stage_log(
    folder: Path, setup_logger: Any, verbose: bool = False, tell: Callable[[str], str] = str
) -> Iterator[None]:
    """Send what is printed inside to `<folder>/log.txt` through the host's logger, then put
    `sys.stdout` back.

    An older `log.txt` is kept under a dated name, so that `log.txt` is always the last run's.

    Args:
        tell: turns a line of the host into what the console shows of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rotate(folder / "log.txt")
    before = sys.stdout
    sys.stdout = StageConsole(before, verbose=verbose, tell=tell)
    try:
        setup_logger(str(folder))
        with nullcontext() if verbose else _others_warnings_printed():
            yield
    finally:
        # what `setup_logger` put in place of our console, if it got as far
        logger, sys.stdout = sys.stdout, before
        if logger is not before and not isinstance(logger, StageConsole):
            logger.flush()
            logger.close()


@contextmanager
def _others_warnings_printed() -> Iterator[None]:
    """Print warnings of hosts and libraries instead of showing them: they go to the log; ours are
    shown as ever.
    """
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if "loreal_plugin" in Path(filename).parts:
                shown(message, category, filename, lineno, file, line)
            else:
                print(f"{category.__name__}: {message} ({filename}:{lineno})")

        warnings.showwarning = show
        yield


def rotate(path: Path) -> None:
    """Give an existing file a dated name."""
    if not path.exists():
        return
    stamp = time.strftime("%Y-%m-%d-%H-%M-%S", time.localtime(path.stat().st_mtime))
    target, n = path.with_name(f"{path.name}-{stamp}"), 1
    while target.exists():
        n += 1
        target = path.with_name(f"{path.name}-{stamp}-{n}")
    path.rename(target)


def quietly(call: Callable[[], Any]) -> Any:
    """Return what `call` returns, without its print-outs."""
    with redirect_stdout(io.StringIO()):
        return call()
