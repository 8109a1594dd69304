"""The encoder of a package in LiteRT (TensorFlow Lite): one picture at a time.

Shapes: F features a picture, D width, S side of the pictures in pixels.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from loreal_plugin.errors import CheckpointError, ConfigError


def litert_encoder(
    path: Path, size: int, threads: int
) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return pixels (1, S, S, 3) uint8 -> features (1, F, D), None where S is not `size`.

    Raises:
        ConfigError: ai-edge-litert is not installed.
        CheckpointError: it cannot read the file.
    """
    run = _interpreter(path, threads)
    given, found = run.get_input_details(), run.get_output_details()
    inputs = [(list(one["shape"]), one["dtype"]) for one in given]
    if inputs != [([1, size, size, 3], np.uint8)] or len(found) != 1:
        return None
    lock = threading.Lock()  # an interpreter has one place for its input

    def features(pixels: np.ndarray) -> np.ndarray:
        with lock:
            run.set_tensor(given[0]["index"], pixels)
            run.invoke()
            return run.get_tensor(found[0]["index"])

    return features


def _interpreter(path: Path, threads: int) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ConfigError(
            f"{path.name} needs ai-edge-litert, which cannot be imported ({error}): pip install"
            " ai-edge-litert, or 'loreal-plugin[litert]' where packages are made"
        ) from None
    try:
        if _takes_other_files(path):
            raise ValueError("it takes tensors from other files, which those of a package never do")
        run = Interpreter(model_path=str(path), num_threads=threads)
        run.allocate_tensors()
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"LiteRT cannot run {path}: {error}") from error
    return run


def _takes_other_files(path: Path) -> bool:
    """Return whether the root table of a model has its ninth field: buffers in other files."""
    with open(path, "rb") as file:

        def number(at: int, size: int, signed: bool = False) -> int:
            file.seek(at)
            return int.from_bytes(file.read(size), "little", signed=signed)

        root = number(0, 4)
        fields = root - number(root, 4, signed=True)  # places of the fields, after two sizes
        place = 4 + 2 * 8
        return number(fields, 2) > place and number(fields + place, 2) != 0
