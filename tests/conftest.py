"""Shared fixtures: the checkout on `sys.path`, few threads, tiny CLIP weights, real hosts."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

if TYPE_CHECKING:
    from loreal_plugin.attach import AttachedHost

ROOT = Path(__file__).resolve().parent.parent
for entry in (ROOT, ROOT / "tests"):
    if str(entry) not in sys.path:
        sys.path.insert(0, str(entry))

from helpers import random_clip_file, random_clip_state_dict  # noqa: E402  (needs the path above)
from python_at_once import python_at_once  # noqa: E402

# Most tests are about the paper's stages; those of the adapted image side ask for it themselves. A
# test that is not about it has no time to measure what a picture costs.
ABOUT_RUNS = {"UNTIL": "loreal", "LOREAL_PICTURE_TIMES": "0"}
for name, value in ABOUT_RUNS.items():
    os.environ.setdefault(name, value)
torch.set_num_threads(int(os.environ.setdefault("OMP_NUM_THREADS", "1")))


def pytest_configure(config: pytest.Config) -> None:
    """Name the markers, so that a misspelt one is an error under `--strict-markers`."""
    config.addinivalue_line(
        "markers", "hosts: needs real checkouts; LOREAL_TEST_HOSTS names their folder"
    )
    config.addinivalue_line("markers", "slow: minutes; run with `-m slow` or LOREAL_SLOW=1")
    config.addinivalue_line("markers", "cuda: needs a CUDA device")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, with the reason and what to do, tests that need what is not there or not asked for."""
    missing: dict[str, str] = {}
    if not os.environ.get("LOREAL_TEST_HOSTS"):
        missing["hosts"] = (
            "not compared with real hosts; LOREAL_TEST_HOSTS=FOLDER pytest -m hosts does that,"
            " where FOLDER holds checkouts of CoOp, MaPLe, MMA, MMRL and Dassl (docs/HOSTS.md)"
        )
    if os.environ.get("LOREAL_SLOW") != "1" and "slow" not in (config.option.markexpr or ""):
        missing["slow"] = "takes minutes, not run; `pytest -m slow` or LOREAL_SLOW=1 runs it"
    if not torch.cuda.is_available():
        missing["cuda"] = (
            "no CUDA device here, not run; `pytest -m cuda` on a machine with one runs it"
        )
    for item in items:
        for name in (name for name in missing if item.get_closest_marker(name)):
            # a real checkout that was asked for by name is run, however long it takes
            if name != "slow" or not item.get_closest_marker("hosts"):
                item.add_marker(pytest.mark.skip(reason=missing[name]))


def pytest_collection_finish() -> None:
    """Let the collector of garbage pass over what the imports left, some 400,000 objects.

    A run collects after each of its stages and tests; going through all of them every time took
    half of a miniature's time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def few_held_out_views() -> Iterator[None]:
    """Let stage 3 choose its inference mode on few views: miniatures train often."""
    from loreal_plugin.trainer import choose_inference

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose_inference, "VIEWS", 40)
        yield


@pytest.fixture(scope="session")
def clip_state() -> Callable[[], dict[str, Tensor]]:
    """Give a function that returns a fresh copy of one tiny random CLIP's weights."""
    weights = random_clip_state_dict()
    return lambda: {name: value.clone() for name, value in weights.items()}


@pytest.fixture(scope="session")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the path of a file with one tiny random CLIP (3 layers, width 64, 64 pixels)."""
    return random_clip_file(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def embedded() -> Iterator[Callable[[str], AttachedHost]]:
    """Give a function that attaches the embedded host for a method; the last test detaches it."""
    from loreal_plugin.attach import attach_host, detach_host
    from loreal_plugin.paths import embedded_host

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CLIP_WEIGHTS", raising=False)
        patch.delenv("LOREAL_COMPAT", raising=False)
        yield lambda method: attach_host(embedded_host(), method)
        detach_host()


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], AttachedHost]]:
    """Give a function that attaches a host with stand-ins of CoCoOp and IVLP, for one module."""
    from stand_ins import write_stand_in_host

    from loreal_plugin.attach import attach_host, detach_host

    root = write_stand_in_host(tmp_path_factory.mktemp("stand_in") / "host")
    detach_host()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CLIP_WEIGHTS", raising=False)
        patch.delenv("LOREAL_COMPAT", raising=False)
        yield lambda method: attach_host(root, method)
        detach_host()


@pytest.fixture
def python_env(tmp_path: Path) -> dict[str, str]:
    """Give an environment in which the scripts use this Python and a cache of their own."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "LANG", "OMP_NUM_THREADS", *ABOUT_RUNS)
        if name in os.environ
    }
    return kept | {"LOREAL_PYTHON": python_at_once(), "LOREAL_CACHE": str(tmp_path / "cache")}


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Give the folder that all workers of a run share."""
    base = tmp_path_factory.getbasetemp()
    # every worker of xdist has a folder of its own below that of the run
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def family(embedded, tmp_path_factory, run_folder) -> Any:
    """Give the toy family; its caches stay in the worker's folder, its host stages are shared."""
    from toy_family import Family

    folder = tmp_path_factory.mktemp("family")
    before = os.environ.get("LOREAL_CACHE")
    os.environ["LOREAL_CACHE"] = str(folder / "cache")
    yield Family(folder, embedded, run_folder / "family-stages")
    os.environ.pop("LOREAL_CACHE") if before is None else os.environ.update(LOREAL_CACHE=before)
