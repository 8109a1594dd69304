"""The stand-in for Python that starts at once: what it is asked for, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from python_at_once import python_at_once

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks on Linux alone")


@pytest.fixture(scope="module")
def python() -> str:
    """Give the stand-in."""
    return python_at_once()


def run(python: str, *words: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, *words], capture_output=True, text=True, timeout=60, **more)


def test_a_program_has_its_own_words_folder_environment_and_input(
    python: str, tmp_path: Path
) -> None:
    code = "import os, sys; print(sys.argv, os.getcwd(), os.environ['A'], input(), __name__)"
    env = os.environ | {"A": "b"}
    done = run(python, "-c", code, "x", "y z", cwd=tmp_path, env=env, input="told\n")
    assert done.stdout == f"['-c', 'x', 'y z'] {tmp_path} b told __main__\n" and done.stderr == ""


def test_modules_and_files_are_found_as_python_finds_them(python: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "here.py").write_text("import there; print(__name__, there.A)")
    (tmp_path / "other" / "there.py").write_text("A = 3")
    env = os.environ | {"PYTHONPATH": str(tmp_path / "other")}
    asked = [("-m", "here"), (str(tmp_path / "here.py"),)]
    for words in asked:
        plain = run(sys.executable, *words, cwd=tmp_path, env=env)
        forked = run(python, *words, cwd=tmp_path, env=env)
        assert forked.stdout == plain.stdout == "__main__ 3\n", forked.stderr


def test_nothing_of_the_project_is_there_before_it_starts(python: str) -> None:
    code = "import sys; print([m for m in sys.modules if m.split('.')[0] in {names}])"
    names = ("loreal_plugin", "dassl", "trainers", "clip", "helpers")
    done = run(python, "-c", code.format(names=names))
    assert done.stdout == "[]\n"
    done = run(python, "-c", "import sys; print('torch' in sys.modules, sys.executable)")
    assert done.stdout == f"True {python}\n"


@pytest.mark.parametrize(
    ("code", "wanted", "said"),
    [
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit('why')", 1, "why\n"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("import os; os._exit(7)", 7, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9, ""),
        ("import atexit, sys; atexit.register(lambda: sys.stderr.write('end'))", 0, "end"),
    ],
)
def test_it_ends_as_the_program_ends(python: str, code: str, wanted: int, said: str) -> None:
    done = run(python, "-c", code)
    assert done.returncode == wanted and said in done.stderr


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_program_dies_with_its_stand_in(python: str, how: signal.Signals, tmp_path: Path) -> None:
    if signal.getsignal(how) == signal.SIG_IGN:
        pytest.skip(f"these tests were started with {how.name} ignored, as by `&` in a script")
    mark = tmp_path / "number"
    code = (
        "import os, sys\n"
        # `with`: a KeyboardInterrupt while a dropped file is closed would be lost
        "with open(sys.argv[1], 'w') as file: file.write(str(os.getpid()))\n"
        "while True: sum(range(1000))"
    )
    words = [python, "-c", code, str(mark)]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    while not mark.exists() or not mark.read_text():
        time.sleep(0.005)
    number = int(mark.read_text())
    process.send_signal(how)
    try:
        assert process.wait(30) != 0
        limit = time.monotonic() + 10
        while Path(f"/proc/{number}").exists():
            assert time.monotonic() < limit, "it is still there"
            time.sleep(0.01)
    finally:  # it would take a core for ever
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def test_another_number_of_threads_gets_a_python_of_its_own(python: str) -> None:
    env = os.environ | {"OMP_NUM_THREADS": "3"}
    code = "import sys; print('torch' in sys.modules)"
    assert run(python, "-c", code, env=env).stdout == "False\n"
