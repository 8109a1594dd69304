"""Fixtures of the mining tests: the toy model on a real socket, and a miner that asks it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from toy_model import KEY, Miner, ToyModel


@pytest.fixture
def model(httpserver: Any, monkeypatch: pytest.MonkeyPatch) -> ToyModel:
    """Give the toy model; the environment has a key and no other address."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return ToyModel(httpserver)


@pytest.fixture
def miner(tmp_path: Path, model: ToyModel) -> Miner:
    """Give a miner that asks the toy model."""
    return Miner(tmp_path, model.url)
