"""Trackers hear every scalar; one that fails does not stop a training. No tracker is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from loreal_plugin.errors import ConfigError
from loreal_plugin.runs.tracker import find_tracker, listen, tracked


class Module(SimpleNamespace):
    """A stand-in for a tracker's package: keeps the name and the arguments of every call."""

    def __init__(self) -> None:
        super().__init__(calls=[])

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Module:
            self.calls.append((name, *args, *kwargs.items()))
            return self

        return call


@pytest.fixture(params=["wandb", "mlflow"])
def module(request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Module]]:
    made = Module()
    monkeypatch.setitem(sys.modules, request.param, made)
    yield request.param, made


def train(name: str, said: list[str], fails: bool = False) -> list[tuple[Any, ...]]:
    """Write two scalars as a trainer does; return those that TensorBoard got."""
    board: list[tuple[Any, ...]] = []
    trainer = SimpleNamespace(write_scalar=lambda *number: board.append(number))
    with tracked(find_tracker(name), "a run", {"SEED": 1, "LONG": "x" * 900}, said.append) as log:
        listen(trainer, log)
        trainer.write_scalar("train/loss", 0.5, 7)
        trainer.write_scalar("test/accuracy", 80.0, 1)
        if fails:
            raise RuntimeError("loss is nan")
    return board


def test_what_tensorboard_gets_goes_to_the_tracker(module: tuple[str, Module]) -> None:
    name, package = module
    said: list[str] = []
    assert train(name, said) == [("train/loss", 0.5, 7), ("test/accuracy", 80.0, 1)]
    assert said == []
    if name == "wandb":
        begin, *logged, end = package.calls
        assert begin[0] == "init" and ("name", "a run") in begin
        assert logged[0] == ("log", {"train/loss": 0.5, "train/loss at": 7})
        assert end == ("finish", ("exit_code", 0))
    else:
        _, begin, params, *logged, end = package.calls
        assert begin == ("start_run", ("run_name", "a run"))
        assert len(params[1]["LONG"]) == 500, "MLflow refuses longer ones"
        assert logged[1] == ("log_metric", "test/accuracy", 80.0, ("step", 1))
        assert end == ("end_run", ("status", "FINISHED"))


def test_a_training_that_fails_is_closed_as_failed(module: tuple[str, Module]) -> None:
    name, package = module
    with pytest.raises(RuntimeError, match="loss is nan"):
        train(name, [], fails=True)
    failed = ("finish", ("exit_code", 1)) if name == "wandb" else ("end_run", ("status", "FAILED"))
    assert package.calls[-1] == failed


def test_a_tracker_that_fails_is_said_once_and_the_training_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no network")

    broken = SimpleNamespace(begin=lambda *_: None, log=fail, end=fail)
    monkeypatch.setitem(sys.modules, "mine", SimpleNamespace(make=lambda: broken))
    said: list[str] = []
    assert len(train("mine:make", said)) == 2
    assert said == ["  LOREAL_TRACKER: the tracker failed and hears no more (no network)"]


@pytest.mark.parametrize(
    ("fails", "heard"), [("log", ["begin", "log", ("end", False)]), ("begin", ["begin"])]
)
def test_what_a_tracker_opened_is_closed_also_where_it_failed_since(
    monkeypatch: pytest.MonkeyPatch, fails: str, heard: list[Any]
) -> None:
    calls: list[Any] = []

    def call(name: str) -> None:
        calls.append(name)
        if name == fails:
            raise OSError("no network")

    mine = SimpleNamespace(
        begin=lambda *_: call("begin"),
        log=lambda *_: call("log"),
        end=lambda ok: calls.append(("end", ok)),
    )
    monkeypatch.setitem(sys.modules, "mine", SimpleNamespace(make=lambda: mine))
    assert len(train("mine:make", said := [])) == 2 and len(said) == 1
    assert calls == heard


def test_a_run_of_mlflow_whose_settings_are_refused_does_not_stay_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: Any) -> None:
        raise ValueError("too many")

    package = Module()
    package.log_params = refuse
    monkeypatch.setitem(sys.modules, "mlflow", package)
    train("mlflow", said := [])
    assert package.calls[-1] == ("end_run", ("status", "FAILED")) and len(said) == 1


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("wandb", "pip install wandb"),
        ("tensorboard", "give wandb or mlflow, or module:name"),
        ("no.such.module:make", "check the name"),
        ("json:make", "check the name"),
    ],
)
def test_a_tracker_that_is_not_there_is_refused_before_training(
    monkeypatch: pytest.MonkeyPatch, named: str, said: str
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=said):
        find_tracker(named)


def test_without_the_variable_nothing_is_tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOREAL_TRACKER", raising=False)
    assert find_tracker() is None
    with tracked(None, "", {}, pytest.fail) as log:
        log("x", 1.0, None)
