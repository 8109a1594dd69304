"""What `torch.save` or TorchScript wrote, read without running it.

TorchScript archives hold code, and `torch.jit.load` runs parts of it while it loads. `torch.load`
hands such archives on to it, some releases even with `weights_only=True`. So archives are read by
our own reader (`loreal_plugin.files.sealed`), and torch's only reads the format before 1.6.
"""

from __future__ import annotations

import os
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.files.sealed import (
    Archive,
    Find,
    Same,
    Sealed,
    UnsafeFileError,
    read_pickle,
    tensors_and_containers,
)

_MAX_DEPTH, _MAX_MODULES = 64, 100_000


def named_by(variable: str, path: Path) -> bool:
    """Return whether an environment variable names this file (paths, separated as in PATH)."""
    named = os.environ.get(variable, "").split(os.pathsep)
    return path.resolve() in {Path(name).expanduser().resolve() for name in named if name}


def _is_zip(path: Path) -> bool:
    """Return whether Python (by its end) or torch (by its beginning) takes a file for a zip."""
    with open(path, "rb") as file:
        start = file.read(4)
    return start == b"PK\x03\x04" or zipfile.is_zipfile(path)


def is_torchscript(path: Path) -> bool:
    """Return whether a file is a TorchScript archive: a zip with code in it."""
    if not _is_zip(path):
        return False
    try:
        with Archive(path) as archive:
            return archive.torchscript
    except (UnsafeFileError, zipfile.BadZipFile):
        return False


def read_torch(path: Path, find: Find = tensors_and_containers) -> Any:
    """Return what `torch.save` wrote, on the CPU: tensors, numbers, texts and containers.

    Args:
        find: answers for names that the file's pickle has.

    Raises:
        UnsafeFileError: it holds anything else; nothing of it was run.
        Exception: it is damaged, in whatever way.
    """
    if _is_zip(path):
        with Archive(path) as archive:
            if archive.torchscript:
                raise UnsafeFileError("it is a TorchScript archive, not what torch.save writes")
            return read_pickle(archive, find)
    # torch unpacks tar files of its first releases into a folder
    if tarfile.is_tarfile(path):
        raise UnsafeFileError("it is a tar archive; save it again with torch.save")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its text advises to run the file
        if "GLOBAL" in str(error):
            raise UnsafeFileError("it names more than tensors, in torch's old format") from error
        raise ValueError("it is cut short, or no file of torch") from error
    except Exception as error:  # torch trips over any text in its own way
        raise ValueError("it is cut short, or no file of torch") from error


class _Module(metaclass=Sealed):
    """Stands for a TorchScript module: its attributes, none of its code."""

    __slots__ = ("parts",)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise UnsafeFileError("a module has no table of attributes")
        self.parts = state


def _of_torchscript(module: str, name: str) -> Any:
    """Return what a TorchScript archive's pickle names."""
    if module == "__torch__" or module.startswith("__torch__."):
        return _Module
    if module == "torch.jit._pickle":
        return Same()  # lists of one type, tagged values: the value itself
    return tensors_and_containers(module, name)


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a TorchScript archive by their names in its modules; runs none of it.

    Raises:
        UnsafeFileError: it holds something else than modules, tensors and containers.
        Exception: it is damaged, in whatever way.
    """
    with Archive(path) as archive:
        root = read_pickle(archive, _of_torchscript)
    found: dict[str, Tensor] = {}
    left = [("", root, 0)]
    for seen in range(_MAX_MODULES):
        if not left:
            return found
        prefix, module, depth = left.pop()
        if not isinstance(module, _Module) or depth > _MAX_DEPTH:
            raise UnsafeFileError("its modules are not a tree")
        for name, value in getattr(module, "parts", {}).items():
            if isinstance(value, Tensor):
                found[f"{prefix}{name}"] = value
            elif isinstance(value, _Module):
                left.append((f"{prefix}{name}.", value, depth + 1))
        if len(left) + seen > _MAX_MODULES:
            break
    raise UnsafeFileError("it has too many modules")
