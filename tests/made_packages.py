"""Packages of untrained models, one encoder a method for all tests and processes of a run."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from untrained import KEY, untrained

from loreal_plugin.attach import detach_host
from loreal_plugin.export import export_run
from loreal_plugin.export.encoder import export_encoder
from loreal_plugin.export.golden import drawn_pictures
from loreal_plugin.export.pictures import Pictures
from loreal_plugin.inference.deployed import Deployed

RECORD = {
    "key": KEY,
    "protocol": "base2new",
    "dataset": "toy",
    "seed": 1,
    "shots": 2,
    "native_size": 64,
    "host": {"name": "embedded"},
    "weights": {"name": "ViT-B/16", "sha256": "0" * 64},
    "config": {"TRAINER.LOREAL.PHI": 32},
    "rows": [{"label": "row", "base": {"accuracy": 50.0}, "new": {"accuracy": 40.0}, "hm": 44.4}],
}


@dataclass
class Made:
    """A package and the model that it was made of."""

    folder: Path
    deployed: Deployed
    files: list[str]


@pytest.fixture(scope="session")
def picture_files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Give the files of eight pictures of several shapes."""
    folder = tmp_path_factory.mktemp("pictures")
    files = [folder / f"{index}.png" for index in range(8)]
    for path, one in zip(files, drawn_pictures(seed=5), strict=True):
        Image.fromarray(one).save(path)
    return [str(path) for path in files]


# what a process has exported so far: a fixture that two folders import is two fixtures
_ENCODERS: dict[str, Any] = {}
_MADE: dict[tuple[Any, ...], Made] = {}


@pytest.fixture(scope="session")
def package_of(
    tmp_path_factory: pytest.TempPathFactory, picture_files: list[str], run_folder: Path
) -> Iterator[Callable[..., Made]]:
    """Give a function that returns the package of a method, a mode and a precision."""
    shared = run_folder / "encoders"
    shared.mkdir(exist_ok=True)

    def encoder_once(deployed: Deployed) -> Any:
        name = deployed.beta.contract.method
        if name not in _ENCODERS:
            file = shared / f"{name}.onnx"
            with FileLock(file.with_suffix(".lock")):
                if not file.exists():
                    file.write_bytes(export_encoder(deployed).SerializeToString())
            _ENCODERS[name] = importlib.import_module("onnx").load(file)
        return copy.deepcopy(_ENCODERS[name])

    def build(method: str, mode: str, precision: str, fusion: bool) -> Made:
        deployed = untrained(method, mode, fusion=fusion)
        folder = tmp_path_factory.mktemp("package") / method
        plan = export_run.ExportPlan(precision, mode, check=8, least=0)
        found = Pictures(tuple(picture_files), tuple(picture_files), "toy pictures")
        # one encoder serves all: models of a method differ in their heads alone
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(export_run, "export_encoder", encoder_once)
            export_run.write_package(
                folder, {"toy": deployed}, RECORD, plan, found, method, say=lambda text: None
            )
        return Made(folder, deployed, picture_files)

    def get(
        method: str = "maple", mode: str = "static", precision: str = "fp32", fusion: bool = True
    ) -> Made:
        key = method, mode, precision, fusion
        if key not in _MADE:
            _MADE[key] = build(*key)
        return _MADE[key]

    detach_host()
    yield get
    detach_host()


@pytest.fixture(scope="session")
def pixels() -> np.ndarray:
    """Give pixels (3, 32, 32, 3) uint8."""
    return np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
