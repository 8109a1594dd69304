"""The command line where its requirements are missing, and names with which it helps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loreal_plugin.errors import DataError
from loreal_plugin.runs.spec import place_dataset

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("words", [["base2new", "maple", "96"], ["--help"]])
def test_without_requirements_one_line_says_what_to_do(words: list[str]) -> None:
    # -S leaves site-packages out
    command = [sys.executable, "-S", "-m", "loreal_plugin", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "is not installed for" in done.stderr and "pip install" in done.stderr


def test_the_doctor_names_what_is_not_installed() -> None:
    command = [sys.executable, "-S", "-m", "loreal_plugin", "doctor"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == ""
    assert "MISSING  torch" in done.stdout and len(done.stdout.splitlines()) <= 20


def test_a_host_that_is_no_folder_is_refused_before_anything_is_installed(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "loreal" / "base2new_train.sh"
    # no interpreter at all: whatever wanted one would say so
    env = {**os.environ, "HOST": str(tmp_path / "none"), "LOREAL_PYTHON": "/no/python"}
    done = subprocess.run(
        ["bash", str(script), "maple", "96"], env=env, capture_output=True, text=True
    )
    assert done.returncode == 2 and "is no folder" in done.stderr and done.stdout == ""


def test_a_dataset_may_be_named_with_a_slash_or_as_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "pets" / "cats").mkdir(parents=True)
    data = str(tmp_path / "data")
    assert place_dataset("pets/", data) == ("pets", data)
    assert place_dataset(f"{data}/pets/", "") == ("pets", data)
    assert place_dataset("pets/cats", data) == ("cats", f"{data}/pets")
    monkeypatch.chdir(tmp_path)
    assert place_dataset("data/pets", "") == ("pets", "data")
    with pytest.raises(DataError, match="is a path, and there is no such folder"):
        place_dataset("data/pats", "")
