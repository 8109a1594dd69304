"""What the tests of protocols and scripts share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest


@pytest.fixture
def python_env(tmp_path: Path) -> dict[str, str]:
    """Give an environment in which the scripts use this interpreter and a cache of their own."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "LANG", "OMP_NUM_THREADS")
        if name in os.environ
    }
    return kept | {"LOREAL_PYTHON": sys.executable, "LOREAL_CACHE": str(tmp_path / "cache")}
