"""The array through submitit, with its engine for this machine in place of SLURM."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loreal_plugin.devices import VARIABLE, VISIBLE
from loreal_plugin.errors import LorealError
from loreal_plugin.sweep.slurm import Family, run_slurm
from loreal_plugin.sweep.sweep_record import Outcome

pytest.importorskip("submitit", reason="submitit is not installed: nothing was submitted")


def run(name: str, family: str, *words: str) -> Any:
    return SimpleNamespace(name=name, family=(family,), process=("p",), words=words)


def test_every_run_of_every_task_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a task that dies leaves no result; submitit waits 15 s for one on a slow disk
    monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 1)
    runs = [run("a1", "a", "options"), run("a2", "a", "optoins"), run("b1", "b", "--version")]
    ended: dict[str, Outcome] = {}
    run_slurm(
        runs,
        lambda r: tmp_path / f"{r.name}.txt",
        tmp_path / "slurm",
        {"cluster": "local", "timeout_min": 5},
        2,
        lambda r, outcome: ended.__setitem__(r.name, outcome),
        poll=0.1,
    )
    assert (
        ended["a1"].done and not ended["a2"].done and "did you mean 'options'?" in ended["a2"].error
    )
    assert "| `BRIDGE` |" in (tmp_path / "a1.txt").read_text()
    # --version ends the process on its own: the task's failure, told as such
    assert not ended["b1"].done and ended["b1"].error


@pytest.mark.parametrize(("chosen", "seen"), [("", "4"), ("1", "6"), ("cpu", ""), ("all", "4,6")])
def test_a_task_uses_one_device_of_those_that_slurm_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str, seen: str
) -> None:
    monkeypatch.setenv(VISIBLE, "4,6")
    monkeypatch.setenv(VARIABLE, "")
    found: list[str] = []

    def run_logged(*_: Any) -> tuple[int, str]:
        found.append(os.environ[VISIBLE])
        return 0, ""

    monkeypatch.setattr("loreal_plugin.sweep.slurm.run_logged", run_logged)
    Family()([(["options"], str(tmp_path / "log.txt"))], {VARIABLE: chosen})
    assert found == [seen]


@pytest.mark.skipif(
    shutil.which("srun") is not None,
    reason="there is a SLURM here: a real array would be submitted",
)
def test_without_slurm_it_says_so_and_submits_nothing(tmp_path: Path) -> None:
    with pytest.raises(LorealError, match="submitit cannot submit to 'slurm'"):
        run_slurm(
            [run("a", "a", "options")],
            lambda r: tmp_path / "log",
            tmp_path / "slurm",
            {},
            1,
            lambda *_: None,
        )


def test_a_parameter_that_submitit_does_not_know(tmp_path: Path) -> None:
    settings = {"cluster": "local", "colour": "red"}
    with pytest.raises(LorealError, match="submitit cannot submit to 'local'.*colour"):
        run_slurm(
            [run("a", "a", "options")],
            lambda r: tmp_path / "log",
            tmp_path / "slurm",
            settings,
            1,
            lambda *_: None,
        )
