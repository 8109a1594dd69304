"""Whose a stage's folder is, when a run starts in it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loreal_plugin.files import read_json
from loreal_plugin.results.protocols import BASE2NEW
from loreal_plugin.results.record import STARTED
from loreal_plugin.runs import run
from loreal_plugin.runs.claim import claim


@pytest.fixture
def said() -> list[str]:
    return []


def claimed(folder: Path, key: str, said: list[str]) -> bool:
    """Begin a stage `key` in a folder; say whether an interrupted run goes on there."""
    journal = claim(folder, "model", key, said.append, random_state=True)
    goes_on = bool(journal.parts)
    journal.begin(key, 3)
    return goes_on


def test_a_run_killed_while_it_started_left_nothing_of_its_own(tmp_path: Path, said) -> None:
    folder = tmp_path / "demo" / "seed1"
    folder.mkdir(parents=True)
    (folder / f".{STARTED}.2ccfeeae.part").write_text("")
    assert not claimed(folder, "key", said)
    assert said == [] and [path.name for path in folder.iterdir()] == [STARTED]
    assert not (tmp_path / "demo.replaced").exists()


def test_the_same_run_goes_on_and_another_one_moves_it_away(tmp_path: Path, said) -> None:
    folder = tmp_path / "demo" / "seed1"
    assert not claimed(folder, "one", said)
    assert claimed(folder, "one", said)
    assert not claimed(folder, "other", said)
    assert "holds another run" in said[-1] and read_json(folder / STARTED)["key"] == "other"
    assert (tmp_path / "demo.replaced" / "one" / "seed1" / STARTED).is_file()


@pytest.mark.parametrize("log", [True, False])
def test_a_record_apart_from_stage_3_has_its_log_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: bool
) -> None:
    stage, folder = tmp_path / "stage", tmp_path / "run"
    stage.mkdir()
    folder.mkdir()
    if log:
        (stage / "log.txt").write_text("accuracy: 50.0%")
    monkeypatch.setattr(run, "read_results", lambda _folder: {"base": {"accuracy": 50.0}})
    plan: Any = SimpleNamespace(
        stages={"loreal": SimpleNamespace(folder=stage)}, record=folder, protocol=BASE2NEW
    )
    run._copy_log(plan, folder, {"rows": [{"name": "loreal", "base": {"accuracy": 50.0}}]})
    assert (folder / "log.txt").exists() == log
