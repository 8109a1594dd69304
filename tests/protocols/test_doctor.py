"""`loreal doctor`: what is missing is named, and the exit code says whether a run can start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import random_clip_file

from loreal_plugin.attach import detach_host
from loreal_plugin.cli import doctor
from loreal_plugin.cli.main import main


@pytest.fixture(autouse=True)
def no_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("DATA", "HOST", "CLIP_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    detach_host()
    yield
    detach_host()


def rows(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, str], str]:
    """Return the marks by what was looked for, and the last line."""
    *lines, last = capsys.readouterr().out.strip().splitlines()
    return {line[9:].split("  ")[0].strip(): line[:9].strip() for line in lines}, last


def test_everything_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--weights", str(random_clip_file(tmp_path))]) == 0
    found, last = rows(capsys)
    assert last == "a run can start" and "MISSING" not in found.values()
    assert found["trainer MaPLe_LOREAL"] == "ok" and found["DATA"] == "-"


def test_missing_weights_data_and_host_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--weights", str(tmp_path / "none.pt"), "--data", str(tmp_path / "nowhere"), "--host", str(tmp_path)]
    assert main(["doctor", *words]) == 1
    found, last = rows(capsys)
    wrong = [name for name, mark in found.items() if mark == "MISSING"]
    assert wrong == [f"weights '{tmp_path / 'none.pt'}'", "host", "DATA"]
    assert last == f"a run cannot start: {', '.join(wrong)}"


def test_a_missing_package_stops_before_what_needs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(doctor.PACKAGES, "some-package", "no_such_module_at_all")
    assert main(["doctor"]) == 1
    found, last = rows(capsys)
    assert found["some-package"] == "MISSING" and last == "a run cannot start: some-package"
    assert "host" not in found
