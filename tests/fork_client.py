"""Stands in for Python: asks a `fork_server.py` for the program, and ends as the program ends.

    python -IS tests/fork_client.py SOCKET PYTHON ARGUMENTS...

PYTHON is what the program is told that it was started by. It has our files, folder and environment;
signals are passed on to it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(path: str, python: str, argv: list[str]) -> int:
    """Return the exit code of the program; end by the signal that it ended by."""
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    # its writer is this process alone: when we are killed, the program is
    alive, writer = os.pipe()
    told = {"argv": argv, "python": python, "cwd": os.getcwd(), "env": dict(os.environ)}
    content = json.dumps(told).encode()
    socket.send_fds(server, [len(content).to_bytes(8, "big")], [0, 1, 2, alive])
    server.sendall(content)
    os.close(alive)
    number = int.from_bytes(server.recv(8), "big")
    told_of_signals = _pass_signals_on(number)
    while server not in select.select([server, told_of_signals], [], [])[0]:
        os.read(told_of_signals, 64)
    answer = server.recv(8)
    if not answer:
        return 1
    code = int.from_bytes(answer, "big", signed=True)
    if code < 0:
        if -code in PASSED_ON:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os.close(writer)
    return code


def _pass_signals_on(number: int) -> int:
    """Pass our signals on to a process; return a file that can be read after each.

    Python calls a handler between its own steps. A signal that comes just before a system call
    that waits would be kept until that call ends; the file ends a `select` at once.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for name in PASSED_ON:
        if signal.getsignal(name) is not signal.SIG_IGN:
            signal.signal(name, lambda which, _: os.kill(number, which))
    return reader


if __name__ == "__main__":
    os._exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
