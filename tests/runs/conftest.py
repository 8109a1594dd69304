"""What several tests of runs need: the command line in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from world import World, trained_world

from loreal_plugin.attach import detach_host
from loreal_plugin.cli.main import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def miniature(run_folder: Path) -> World:
    """Give a world with a finished run of MaPLe, trained once a session; tests copy of it."""
    return trained_world(run_folder / "miniature")


@pytest.fixture
def command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[[Mapping[str, object]], Run]]:
    """Give a function that sets the environment and returns one that runs the command line here.

    That one takes words and returns exit code, stdout, stderr.
    """
    detach_host()

    def set_up(environment: Mapping[str, object]) -> Run:
        for name, value in environment.items():
            monkeypatch.setenv(name, str(value))

        def run(*words: str) -> tuple[int, str, str]:
            code = main(list(words))
            return code, *capsys.readouterr()

        return run

    yield set_up
    detach_host()
