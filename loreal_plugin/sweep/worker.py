"""A process that makes runs one after another.

A line of JSON comes in for each run, a line of JSON goes out, and all other output goes to a log.
Importing torch and attaching a host costs seconds; a process that stays pays them once. It ends at
once, even in the middle of a run, when its parent is gone: a run can be killed at any point and
goes on when it is started again.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from loreal_plugin.errors import one_line

# The command line stands above this room. Its module has `main`, and serves where it is started.
WORKER_MODULE = "loreal_plugin.cli.sweep_worker"
PARENT_GONE = 3
Main = Callable[[Sequence[str]], int]


def run_logged(main: Main, words: Sequence[str], log: Path) -> tuple[int, str]:
    """Run a command line of `loreal` in this process; return exit code and error line.

    Args:
        main: the command line: words in, exit code out.
        words: what follows `loreal`.
        log: file that the output is added to.
    """
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


@contextmanager
def _output_to(file: TextIO) -> Iterator[None]:
    """Let file descriptors 1 and 2 of this process go to a file, then back.

    Python's own streams would not do: libraries and child processes write to the descriptors.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(number) for number in (1, 2)]
    for number in (1, 2):
        os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        for number, before in zip((1, 2), saved, strict=True):
            os.dup2(before, number)
            os.close(before)


def serve(main: Main) -> None:
    """Make the runs that the parent's lines ask for, until it closes the pipe."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing but replies may reach the parent's pipe
    tasks: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    while True:
        task = json.loads(tasks.get())
        code, error = run_logged(main, task["words"], Path(task["log"]))
        print(json.dumps({"code": code, "error": error}), file=replies, flush=True)


def _listen(tasks: queue.Queue[str]) -> None:
    for line in sys.stdin:
        tasks.put(line)
    os._exit(PARENT_GONE)
