"""Files, names, seeds and the description of the machine."""

from __future__ import annotations

import difflib
import json
import os
import platform
import random
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image

from dassl._plugin import ConfigError, DataError, read_picture, replacing, unknown_name


def mkdir_if_missing(dirname: str | os.PathLike[str]) -> None:
    """Make the folder and its parents; an empty name is the current folder."""
    if dirname:
        os.makedirs(dirname, exist_ok=True)


def check_isfile(fpath: str | os.PathLike[str]) -> bool:
    """Tell whether `fpath` is a file, with a warning when it is not."""
    found = os.path.isfile(fpath)
    if not found:
        warnings.warn(f'No file found at "{fpath}"', stacklevel=2)
    return found


def read_json(fpath: str | os.PathLike[str]) -> Any:
    """Return the content of a JSON file."""
    return json.loads(Path(fpath).read_text(encoding="utf-8"))


def write_json(obj: Any, fpath: str | os.PathLike[str]) -> None:
    """Write `obj` as indented JSON; the file appears whole or not at all."""
    target = Path(fpath)
    mkdir_if_missing(target.parent)
    with replacing(target) as part:
        part.write_text(json.dumps(obj, indent=4, separators=(",", ": ")), encoding="utf-8")


def set_random_seed(seed: int) -> None:
    """Seed Python, NumPy and PyTorch, on every device."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)  # covers CUDA, lazily when it is not initialised


class PictureError(DataError):
    """A picture that cannot be read.

    Out of a loader's worker process PyTorch raises it anew with the whole traceback as its text;
    the last line, which is the message, is kept.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text.strip().splitlines()[-1].rpartition(f"{type(self).__name__}: ")[2])


def read_image(path: str | os.PathLike[str]) -> Image.Image:
    """Return the picture in RGB, upright, fully decoded.

    Raises:
        DataError: naming the file, when it is missing, truncated or no picture.
    """
    try:
        return read_picture(path)
    except DataError as error:
        raise PictureError(str(error)) from error


def collect_env_info() -> str:
    """Return the versions and devices a result depends on, one a line."""
    rows = {
        "Python": platform.python_version(),
        "System": platform.platform(),
        "PyTorch": torch.__version__,
        "torchvision": torchvision.__version__,
        "NumPy": np.__version__,
        "Pillow": PIL.__version__,
        "CUDA": torch.version.cuda or "not built in",
        "Threads": str(torch.get_num_threads()),
        "CPU count": str(os.cpu_count()),
    }
    for index in range(torch.cuda.device_count()):
        rows[f"GPU {index}"] = torch.cuda.get_device_name(index)
    return "\n".join(f"{name}: {value}" for name, value in rows.items())


def listdir_nohidden(path: str | os.PathLike[str], sort: bool = False) -> list[str]:
    """Return the names in a folder that do not start with a dot."""
    names = [name for name in os.listdir(path) if not name.startswith(".")]
    return sorted(names) if sort else names


def get_most_similar_str_to_a_from_b(a: str, b: Iterable[str]) -> str | None:
    """Return the string of `b` most like `a`, or None when `b` is empty."""
    return max(b, key=lambda name: difflib.SequenceMatcher(None, a, name).ratio(), default=None)


def check_availability(requested: str, available: Sequence[str], kind: str = "name") -> None:
    """Raise ConfigError with the nearest name and the whole list if the name is not available."""
    if requested not in available:
        raise ConfigError(unknown_name(kind, requested, available))


def tolist_if_not(x: Any) -> list:
    """Return `x` when it is a list, else a list of it alone."""
    return x if isinstance(x, list) else [x]
