"""A process that makes runs one after another: a JSON line in for each, a JSON line out, all other
output to a log.

Importing torch and attaching a host costs seconds; a process that stays pays them once. It ends at
once, even in the
middle of a run, when its parent is gone: a run can be killed at any point and goes on when it is
started again.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

PARENT_GONE = 3


def run_logged(words: Sequence[str], log: Path) -> tuple[int, str]:
    """Run a command line of `loreal` in this process with its output in a file; return exit code
    and error line.
    """
    from loreal_plugin.cli.main import main, one_line

    log.parent.mkdir(parents=True, exist_ok=True)
    error = ""
    with log.open("a", encoding="utf-8") as file, _output_to(file):
        print(f"$ loreal {' '.join(words)}", flush=True)
        try:
            code = main(list(words))
        except Exception as fault:
            # a bug or a crash of one run must not end the others; its traceback is in the log
            traceback.print_exc()
            code, error = 1, f"{type(fault).__name__}: {one_line(fault)}"
        sys.stdout.flush()
        sys.stderr.flush()
    return code, error or ("" if code == 0 else last_error(log))


def last_error(log: Path) -> str:
    """Return the last error line of a log, its last line where there is none."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    # a log goes on when its run is started again: only the last call counts
    lines = [line for line in text.rpartition("\n$ loreal ")[2].splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return errors[-1] if errors else lines[-1] if lines else "ended without a word"


class _output_to:
    """Context manager: file descriptors 1 and 2 of this process go to a file, then back."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __enter__(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._kept = [os.dup(number) for number in (1, 2)]
        for number in (1, 2):
            os.dup2(self._file.fileno(), number)

    def __exit__(self, *_: object) -> None:
        for number, kept in zip((1, 2), self._kept, strict=True):
            os.dup2(kept, number)
            os.close(kept)


def serve() -> None:
    """Answer the parent's lines until it closes the pipe."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing but replies may reach the parent's pipe
    tasks: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    while True:
        task = json.loads(tasks.get())
        code, error = run_logged(task["words"], Path(task["log"]))
        print(json.dumps({"code": code, "error": error}), file=replies, flush=True)


def _listen(tasks: queue.Queue[str]) -> None:
    for line in sys.stdin:
        tasks.put(line)
    os._exit(PARENT_GONE)


if __name__ == "__main__":
    serve()
