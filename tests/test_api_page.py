"""docs/API.md is made from the docstrings of the public names, and all of them are there."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import loreal_plugin

ROOT = Path(__file__).resolve().parent.parent
NAMES = [name for name in loreal_plugin.__all__ if not name.startswith("__")]


def test_the_page_is_what_the_script_writes(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = importlib.import_module("api_page")
    assert script.main(["--check"]) == 0, capsys.readouterr().out
    monkeypatch.setattr(script, "PAGE", tmp_path / "API.md")
    assert script.main(["--check"]) == 1 and script.main([]) == script.main(["--check"]) == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there_and_documented(name: str):
    value = getattr(loreal_plugin, name)
    assert value.__doc__ and value.__name__ == name
    assert f"## `{name}`" in (ROOT / "docs" / "API.md").read_text(encoding="utf-8")


def test_other_names_are_no_attributes():
    with pytest.raises(AttributeError, match="no attribute 'load_runs'"):
        loreal_plugin.load_runs  # noqa: B018
    assert set(NAMES) <= set(dir(loreal_plugin))
