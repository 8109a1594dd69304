"""Logs give stdout back, keep what was there; locks let one process in."""

from __future__ import annotations

import io
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from loreal_plugin.runs.locks import stage_lock
from loreal_plugin.runs.logs import StageConsole, stage_log
from loreal_plugin.runs.meter import Meter


class ClosingLogger:
    """A logger as Dassl's: copies to a file, and closes its console when it is closed."""

    def __init__(self, folder: str) -> None:
        self.console = sys.stdout
        self.file = open(Path(folder) / "log.txt", "w")

    def write(self, text: str) -> None:
        self.console.write(text)
        self.file.write(text)

    def flush(self) -> None:
        self.console.flush()

    def close(self) -> None:
        self.console.close()
        self.file.close()


def setup_logger(folder: str) -> None:
    sys.stdout = ClosingLogger(folder)


def test_log_has_everything_and_the_console_what_matters(tmp_path: Path, monkeypatch: Any) -> None:
    console = io.StringIO()
    monkeypatch.setattr(sys, "stdout", console)
    with stage_log(tmp_path, setup_logger):
        print("** Config **")
        print("epoch [1/2] batch [1/9] loss 1")
        print("epoch [1/2] batch [2/9] loss 1")
        print("Warning: look")
    assert sys.stdout is console and not console.closed
    assert console.getvalue() == "  epoch [1/2] batch [1/9] loss 1\n  Warning: look\n"
    assert (tmp_path / "log.txt").read_text().splitlines()[0] == "** Config **"


def test_warnings_of_hosts_go_to_the_log_and_ours_are_shown(tmp_path: Path) -> None:
    with pytest.warns(UserWarning) as shown, stage_log(tmp_path, setup_logger):
        warnings.warn_explicit("gone soon", FutureWarning, "host/trainers/coop.py", 7)
        warnings.warn_explicit("look here", UserWarning, "x/loreal_plugin/trainer/report.py", 8)
    assert [str(one.message) for one in shown] == ["look here"]
    assert (
        "FutureWarning: gone soon (host/trainers/coop.py:7)" in (tmp_path / "log.txt").read_text()
    )


def test_stdout_comes_back_when_a_stage_fails(tmp_path: Path) -> None:
    before = sys.stdout
    with pytest.raises(ValueError, match="inside"), stage_log(tmp_path, setup_logger):
        raise ValueError("inside")
    assert sys.stdout is before


def test_older_logs_are_kept_beside_the_new_one(tmp_path: Path) -> None:
    for text in ("first", "second", "third"):
        with stage_log(tmp_path, setup_logger):
            print(text)
    assert (tmp_path / "log.txt").read_text() == "third\n"
    assert {p.read_text() for p in tmp_path.glob("log.txt-*")} == {"first\n", "second\n"}


def test_verbose_console_shows_every_line() -> None:
    console = io.StringIO()
    StageConsole(console, verbose=True).write("one\ntw")
    assert console.getvalue() == "one\n"


HOLDER = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from loreal_plugin.runs.locks import stage_lock
with stage_lock(Path({folder!r})):
    print("held", flush=True)
    time.sleep({seconds})
"""


def hold(folder: Path, seconds: float) -> subprocess.Popen[str]:
    root = str(Path(__file__).resolve().parents[2])
    code = HOLDER.format(root=root, folder=str(folder), seconds=seconds)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_second_run_says_so_and_waits(tmp_path: Path) -> None:
    folder, said = tmp_path / "demo" / "seed1", []
    process = hold(folder, 1.0)
    started = time.monotonic()
    with stage_lock(folder, said.append):
        waited = time.monotonic() - started
    process.wait()
    assert waited > 0.2 and len(said) == 1 and "another run is working on" in said[0]


def test_lock_of_a_killed_run_is_free(tmp_path: Path) -> None:
    folder, said = tmp_path / "demo" / "seed1", []
    process = hold(folder, 60.0)
    process.kill()
    process.wait()
    with stage_lock(folder, said.append):
        assert said == []


def test_meter_measures_time_and_memory() -> None:
    with Meter(interval=0.01) as meter:
        block = bytearray(64 * 2**20)
        time.sleep(0.05)
    assert len(block) and 0.05 <= meter.seconds < 30 and meter.peak_memory_mb > 64


def test_meter_of_a_run_without_cuda_leaves_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: asked.append("reset"))
    monkeypatch.setattr(
        torch.cuda, "max_memory_allocated", lambda: asked.append("read") or 3 * 2**20
    )
    with Meter(cuda=False, interval=0.01) as meter:
        time.sleep(0.02)
    assert asked == [] and meter.peak_memory_mb > 3
    with Meter(interval=0.01) as meter:
        pass
    assert asked == ["reset", "read"] and meter.peak_memory_mb == 3
