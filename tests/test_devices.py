"""One process sees one CUDA device: which, how it is said, and what its children see."""

from __future__ import annotations

import os
import re
import sys

import pytest
import torch

from loreal_plugin import devices
from loreal_plugin.cli.main import entry
from loreal_plugin.devices import VARIABLE, VISIBLE, device_choice, use_one_device
from loreal_plugin.errors import ConfigError
from loreal_plugin.sweep.local import device_of


@pytest.mark.parametrize(
    ("env", "seen"),
    [
        ({}, "0"),
        ({VARIABLE: "1"}, "1"),
        ({VARIABLE: "cuda:1"}, "1"),
        ({VISIBLE: "2,3"}, "2"),
        ({VISIBLE: "2,3", VARIABLE: "1"}, "3"),
        ({VISIBLE: "GPU-ab12, GPU-cd34", VARIABLE: "1"}, "GPU-cd34"),
        ({VARIABLE: "cpu", VISIBLE: "2,3"}, ""),
        ({VARIABLE: "ALL", VISIBLE: "2,3"}, "2,3"),
        ({"LOCAL_RANK": "1", VISIBLE: "2,3"}, "3"),  # a process of torchrun
        ({"LOCAL_RANK": "1", VARIABLE: "cpu"}, ""),
        ({VISIBLE: ""}, ""),  # hidden by the user
        ({VISIBLE: "-1,0"}, "-1,0"),
    ],
)
def test_a_process_sees_the_device_that_was_asked_for(monkeypatch, env, seen):
    monkeypatch.setattr(devices, "_choice", "")
    monkeypatch.setattr(devices, "_DRIVER", devices.Path("/nowhere"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    use_one_device(env)
    assert env[VISIBLE] == seen
    child = dict(env)
    use_one_device(child)
    assert child[VISIBLE] == seen, "what it starts sees the same"


def test_the_driver_says_how_many_there_are(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "_choice", "")
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(devices, "_DRIVER", tmp_path)
    told = use_one_device({VARIABLE: "1"})
    assert (
        told
        == device_choice()
        == "one CUDA device of 2, CUDA_VISIBLE_DEVICES=1 (LOREAL_DEVICE chooses)"
    )
    with pytest.raises(
        ConfigError, match=r"LOREAL_DEVICE=2 .* visible are 0 \(0\), 1 \(1\); choose"
    ):
        use_one_device({VARIABLE: "2"})


@pytest.mark.parametrize(
    "words", [("doctor",), ("base2new", "maple", "96", "--dry-run"), ("sweep",)]
)
def test_a_device_that_is_not_there_is_refused_in_one_line(monkeypatch, capsys, words):
    monkeypatch.setattr(devices, "_choice", "")
    monkeypatch.setattr(devices, "_DRIVER", devices.Path("/nowhere"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["loreal", *words])
    monkeypatch.setenv(VARIABLE, "7")
    for visible, found in ((None, "PyTorch .* finds no CUDA device"), ("", "which hides every")):
        monkeypatch.setenv(VISIBLE, visible or "")
        if visible is None:
            monkeypatch.delenv(VISIBLE)
        assert entry() == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert re.search(
            f"LOREAL_DEVICE=7 was asked for, and .*{found}.*; unset LOREAL_DEVICE", line
        )


def test_what_nobody_asked_for_is_not_missed(monkeypatch):
    monkeypatch.setattr(devices, "_choice", "")
    monkeypatch.setattr(devices, "_DRIVER", devices.Path("/nowhere"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    env: dict[str, str] = {}
    assert use_one_device(env).startswith("at most one CUDA device")
    assert VARIABLE not in env, "a process that this one starts has not asked either"
    assert use_one_device(env).startswith("one CUDA device of 1")


def test_the_command_line_settles_it_before_anything_else(monkeypatch, capsys):
    monkeypatch.setattr(devices, "_choice", "")
    monkeypatch.setenv(VISIBLE, "4,5")
    monkeypatch.setenv(VARIABLE, "second")
    monkeypatch.setattr(sys, "argv", ["loreal", "options"])
    assert entry() == 2 and "LOREAL_DEVICE must be the number" in capsys.readouterr().err
    monkeypatch.setenv(VARIABLE, "1")
    assert entry() == 0 and os.environ[VISIBLE] == "5"


def test_processes_of_a_sweep_take_turns_over_the_devices(monkeypatch):
    monkeypatch.setenv(VISIBLE, "4,5")
    monkeypatch.delenv(VARIABLE, raising=False)
    assert [device_of(number) for number in range(3)] == [{VARIABLE: n} for n in "010"]
    monkeypatch.setenv(VARIABLE, "1")
    assert device_of(0) == {}
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv(VISIBLE, "4")
    assert device_of(1) == {}
