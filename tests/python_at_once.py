"""The program that tests start in place of Python: it has torch at once (`fork_server.py`)."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent
# with other threads or hidden devices, Python itself: the imports read both
PROGRAM = """#!/bin/sh
case "${{OMP_NUM_THREADS-}}${{CUDA_VISIBLE_DEVICES+hidden}}" in
{threads}) exec "{python}" -IS "{client}" "{socket}" "$0" "$@" ;;
*) exec "{python}" "$@" ;;
esac
"""


@functools.cache
def python_at_once() -> str:
    """Return the program's path; its server starts here, and ends with this process.

    It takes `-c CODE`, `-m MODULE` or a file, and words for them. Limits of this process (`ulimit`)
    and signals that it ignores do not reach it. Not on Linux: the path of this Python.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if not sys.platform.startswith("linux") or not threads or "CUDA_VISIBLE_DEVICES" in os.environ:
        return sys.executable
    # not below pytest's own folder: the path of a socket has to be short
    folder = Path(tempfile.mkdtemp(prefix="loreal-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    socket, program = folder / "socket", folder / "python"
    words = [sys.executable, str(TESTS / "fork_server.py"), str(socket)]
    # it ends when its input does: with this process, however that ends
    server = subprocess.Popen(words, stdin=subprocess.PIPE)
    while not socket.exists():
        assert server.poll() is None, "fork_server.py has ended"
        time.sleep(0.01)
    client = TESTS / "fork_client.py"
    text = PROGRAM.format(threads=threads, python=sys.executable, client=client, socket=socket)
    program.write_text(text)
    program.chmod(0o755)
    python_at_once.server = server  # type: ignore[attr-defined]  # lives as long as we do
    return str(program)
