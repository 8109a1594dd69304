"""Models of cells of the tiny size on the embedded host, with a cache of the test's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from loreal_plugin.bench.cells import Cell
from loreal_plugin.paths import embedded_host


@pytest.fixture(scope="session")
def cell_models(embedded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Give a function (kind, method, variants, ...) that returns models of 6 classes."""
    from loreal_plugin.bench.models import CellModels

    before = os.environ.get("LOREAL_CACHE")
    os.environ["LOREAL_CACHE"] = str(tmp_path_factory.mktemp("bench-cache"))

    def make(kind: str, method: str, *variants: str, n_classes: int = 6, batch: int = 3) -> Any:
        return CellModels(
            Cell(kind, method, 32, n_classes, batch, variants, size="tiny"), embedded_host()
        )

    yield make
    os.environ.pop("LOREAL_CACHE") if before is None else os.environ.update(LOREAL_CACHE=before)
