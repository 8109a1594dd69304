"""Python programs that start at once: copies of a process that has imported torch already.

    python tests/fork_server.py SOCKET       serve until the standard input ends

Importing torch and what stands on it takes seconds, and many tests start a program of their own. A
program asked for through `fork_client.py` is a fork of this process: it has its own environment,
folder, files and exit code, and nothing of this project or of a host is imported before it starts.
It can be killed: when its client ends, the kernel kills it.

Linux alone; elsewhere, and where another number of threads is asked for, tests start Python itself.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import threading
import traceback
from types import ModuleType
from typing import Any

LIBRARIES = (
    "torch._dynamo",
    "torchvision.transforms",
    "PIL.Image",
    "yaml",
    "yacs.config",
    "tabulate",
    "tqdm",
    "psutil",
    "ftfy",
    "regex",
    "safetensors.torch",
)
F_SETSIG = 10  # of fcntl.h; Python 3.10 does not name it


def serve(path: str) -> None:
    """Answer clients; end with the process that holds the other end of our standard input."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait
    while True:
        client, _ = server.accept()
        if os.fork() == 0:
            server.close()
            os._exit(_answer(client))
        client.close()


def _end_with_parent() -> None:
    while os.read(0, 1):  # no stream: a fork would inherit its lock
        pass
    os._exit(0)


def _answer(client: socket.socket) -> int:
    """Start the program, wait for it, and tell the client its number and then its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, files, _, _ = socket.recv_fds(client, 8, 4)
    size = int.from_bytes(head, "big")
    content = b""
    while len(content) < size:
        content += client.recv(size - len(content))
    request = json.loads(content)
    number = os.fork()
    if number == 0:
        client.close()
        os._exit(_run(request, *files))
    for file in files:
        os.close(file)
    with contextlib.suppress(OSError):  # the client may have been killed
        client.sendall(number.to_bytes(8, "big"))
        _, status = os.waitpid(number, 0)
        code = os.waitstatus_to_exitcode(status)
        client.sendall(code.to_bytes(8, "big", signed=True))
    return 0


def _run(request: dict[str, Any], stdin: int, stdout: int, stderr: int, alive: int) -> int:
    """Be the program; return its exit code."""
    _die_with(alive)
    for number, file in enumerate((stdin, stdout, stderr)):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    kinds = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
    for number, (name, mode) in enumerate(kinds):
        stream = open(number, mode, encoding="utf-8", closefd=False)
        if number == 2:
            stream.reconfigure(line_buffering=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.executable = request["python"]
    try:
        _program(request["argv"])
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = 1 if isinstance(end.code, str) else int(end.code or 0)
    except KeyboardInterrupt:
        traceback.print_exc()
        code = 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
        code = 1
    try:
        _wait_for_threads()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = code or 120  # as Python itself
    return code


def _wait_for_threads() -> None:
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def _die_with(alive: int) -> None:
    """Let the kernel kill this process when the last writer of a pipe is gone."""
    fcntl.fcntl(alive, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(alive, F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(alive, fcntl.F_SETFL, fcntl.fcntl(alive, fcntl.F_GETFL) | os.O_ASYNC)


def _program(argv: list[str]) -> None:
    """Run what Python's command line asks for: `-c CODE`, `-m MODULE`, or a file."""
    path = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    kind, *rest = argv
    if kind == "-c":
        sys.argv, sys.path[:1] = ["-c", *rest[1:]], ["", *path]
        module = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), vars(module))
    elif kind == "-m":
        sys.argv, sys.path[:1] = ["-m", *rest[1:]], [os.getcwd(), *path]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif not kind.startswith("-"):
        sys.argv = argv
        sys.path[:1] = [os.path.dirname(os.path.abspath(kind)), *path]
        runpy.run_path(kind, run_name="__main__")
    else:
        raise SystemExit(f"fork_server.py knows no {kind}")


if __name__ == "__main__":
    serve(sys.argv[1])
