"""Packages that an export needs and the rest of the project does not."""

from __future__ import annotations

import importlib
import os
from typing import Any

from loreal_plugin.errors import ConfigError

# by format of the encoder; as a registry has them
TOOLS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "litert": ("litert-torch", "ai-edge-litert"),
}


def need(name: str, extra: str = "export") -> Any:
    """Return a module of a package that an extra of this project brings.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{name.partition('.')[0]} is needed here and cannot be imported ({error});"
            f" pip install 'loreal-plugin[{extra}]'"
        ) from None


def need_tools(kind: str) -> None:
    """Check that all that writes and runs a format is installed.

    Raises:
        ConfigError: a package is not; it is named with its extra.
    """
    # TensorFlow's part of the LiteRT converter else logs its own affairs to the terminal
    for name, value in (("TF_CPP_MIN_LOG_LEVEL", "3"), ("TF_ENABLE_ONEDNN_OPTS", "0")):
        os.environ.setdefault(name, value)
    for name in TOOLS[kind]:
        need(name.replace("-", "_"), "export" if kind == "onnx" else kind)
