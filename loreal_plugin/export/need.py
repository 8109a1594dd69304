"""Packages that an export needs and the rest of the project does not."""

from __future__ import annotations

import importlib
from typing import Any

from loreal_plugin.errors import ConfigError


def need(name: str) -> Any:
    """Return a module of onnx, onnxruntime or onnxscript.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{name.partition('.')[0]} is needed here and cannot be imported ({error});"
            " pip install 'loreal-plugin[export]'"
        ) from None
