"""Modules of a few lines in place of a host's."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable

import pytest


@pytest.fixture
def fake(tmp_path, monkeypatch) -> Callable[[str, str], types.ModuleType]:
    """Give a function that puts a module with this source into `sys.modules` for one test."""

    def make(name: str, source: str) -> types.ModuleType:
        file = tmp_path / f"{name}.py"
        file.write_text(source)
        module = types.ModuleType(name)
        module.__file__ = str(file)
        exec(compile(source, str(file), "exec"), vars(module))
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return make
