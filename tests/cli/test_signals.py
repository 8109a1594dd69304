"""SIGTERM ends a command with one line and 143, and leaves nothing half written."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loreal_plugin.cli.signals import EXIT_TERMINATED, Terminated, ended_by_sigterm
from loreal_plugin.files import remove_leftovers, write_text
from loreal_plugin.files.atomic import replacing

cli = importlib.import_module("loreal_plugin.cli.main")  # the package has a function of that name


def test_sigterm_is_one_line_and_143(monkeypatch, capsys, tmp_path):
    def run(_words):
        with replacing(tmp_path / "file") as part:
            part.write_text("half")
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("the signal ends the block")

    monkeypatch.setattr(cli, "parse", run)
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main([]) == EXIT_TERMINATED == 143
    assert (
        capsys.readouterr().err == "error: ended by SIGTERM; run the same command again to go on\n"
    )
    assert list(tmp_path.iterdir()) == [] and signal.getsignal(signal.SIGTERM) is before


def test_somebody_elses_handler_stays():
    def theirs(*_):
        raise ValueError

    before = signal.signal(signal.SIGTERM, theirs)
    try:
        with pytest.raises(ValueError), ended_by_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
        with ended_by_sigterm():
            assert signal.getsignal(signal.SIGTERM) is theirs
    finally:
        signal.signal(signal.SIGTERM, before)


def test_terminated_is_an_interrupt():
    assert issubclass(Terminated, KeyboardInterrupt)


def test_a_training_that_diverges_is_one_line(monkeypatch, capsys):
    def run(_words):
        raise FloatingPointError("the loss is [nan]; training stops")

    monkeypatch.setattr(cli, "parse", run)
    assert cli.main([]) == 2
    assert "smaller OPTIM.LR" in capsys.readouterr().err


def test_leftovers_of_the_dead_go_and_what_the_living_write_stays(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from loreal_plugin.files.atomic import replacing\n"
        "with replacing(Path(sys.argv[1]) / 'in' / 'x') as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=root)
    assert done.returncode == -signal.SIGKILL
    (dead,) = (tmp_path / "in").iterdir()
    write_text(tmp_path / "in" / ".mine.part", "not ours")
    with replacing(tmp_path / "in" / "y") as living:
        remove_leftovers(tmp_path)
        assert dead.exists()
        remove_leftovers(tmp_path, below=True)
        assert not dead.exists() and living.exists()
    assert {path.name for path in (tmp_path / "in").iterdir()} == {"y", ".mine.part"}
