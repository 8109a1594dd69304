"""What is said of every repair, and which ones a setting allows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loreal_plugin.attach import describe_shims, format_shims
from loreal_plugin.attach.shims import ALL_FACTS, SHIMS
from loreal_plugin.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def test_every_shim_says_whose_where_since_and_why():
    names = [facts.name for facts in ALL_FACTS]
    assert len(set(names)) == len(names) == len(SHIMS) + 3
    assert all(all(vars(facts).values()) for facts in ALL_FACTS)
    page = (ROOT / "docs" / "HOSTS.md").read_text(encoding="utf-8")
    table = page.split("## Repairs")[1].split("\n## ")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == names


def test_shims_are_listed_with_what_the_setting_makes_of_them(monkeypatch):
    monkeypatch.setenv("LOREAL_COMPAT", "-warmup,-position")
    states = {one.facts.name: one.state for one in describe_shims()}
    assert {name for name, state in states.items() if state == "switched off"} == {
        "warmup",
        "position",
    }
    assert "dassl/optim/lr_scheduler.py:22; since: torch 2.7" in format_shims(describe_shims())
    monkeypatch.setenv("LOREAL_COMPAT", "warmups")
    with pytest.raises(ConfigError, match="did you mean 'warmup'"):
        describe_shims()
