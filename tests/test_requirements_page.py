"""The page of requirements: all of setup.py with a licence; the pinned list brings what is used."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import requirements_page as made  # noqa: E402


def test_the_page_lists_every_requirement_with_a_licence() -> None:
    listed = made.on_page(made.PAGE.read_text(encoding="utf-8"))
    assert listed.keys() == made.asked_for().keys()
    unknown = {"", "not installed", "UNKNOWN", "says none"}
    assert [name for name, licence in listed.items() if licence in unknown] == []


def test_an_extra_that_asks_for_more_says_so() -> None:
    versions, why = made.asked_for()["torch"]
    assert versions == ">=2.5" and why[:2] == ["always", "export (>=2.6)"]
    assert "torch==2.5" in made.lowest(), "what is always needed stays as low as it is"


def test_what_is_not_installed_keeps_the_licence_that_the_page_had(monkeypatch) -> None:
    monkeypatch.setattr(made, "asked_for", lambda: {"no-such-package": ("any", ["always"])})
    assert made.on_page(made.page({})) == {"no-such-package": "not installed"}
    assert made.on_page(made.page({"no-such-package": "MIT"})) == {"no-such-package": "MIT"}


def test_the_pinned_list_has_what_requirements_need_themselves() -> None:
    pins = dict(line.split("==") for line in made.pinned())
    assert pins["numpy"] == metadata.version("numpy") and "clip-anytorch" in pins
    assert "wcwidth" in pins, "ftfy needs it"
    assert "pytest" not in pins and "ruff" not in pins, "extras are left out"


def test_everything_that_is_always_needed_has_a_lowest_version() -> None:
    always = {name for name, (_, why) in made.asked_for().items() if "always" in why}
    found = dict(line.split("==") for line in made.lowest())
    assert found.keys() == always and found["clip-anytorch"] == "2.6.0"


def test_the_script_says_so_where_its_tools_cannot_be_had(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")  # makes no environment
    (tools / "python3").chmod(0o755)
    env = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "LOREAL_PYTHON": sys.executable}
    command = ["bash", str(ROOT / "scripts" / "supply_chain.sh"), str(tmp_path / "out")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "cannot be installed here: not audited" in done.stdout
    assert len((tmp_path / "out" / "requirements.txt").read_text().split()) == len(made.pinned())
