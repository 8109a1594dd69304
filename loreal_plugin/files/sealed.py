"""Reading the archives that torch writes, without running anything that is in them.

`torch.save` and TorchScript write a zip: `<root>/data.pkl` is a pickle, `<root>/data/<key>` are the
numbers of its tensors. A pickle can name any function of any package, and reading it calls that
function. Here a pickle may name tensors and containers alone.
"""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

_NUMBERED = ("PUT", "BINPUT", "LONG_BINPUT")  # steps of a pickle that name a place in its memo
_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class UnsafeFileError(ValueError):
    """A file that names what must not be run, or whose parts contradict each other."""


class Archive:
    """The records of a zip that torch wrote; nothing is unpacked to the disk.

    Raises:
        zipfile.BadZipFile: it is no zip, or damaged.
        UnsafeFileError: it is a zip of another kind.
    """

    def __init__(self, path: Path) -> None:
        self._size = path.stat().st_size
        self._zip = zipfile.ZipFile(path)
        names = self._zip.namelist()
        roots = {name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")}
        roots = {root for root in roots if root.count("/") == 1}
        if len(roots) != 1:
            self.close()
            raise UnsafeFileError("it is a zip archive, but not one of torch")
        self._root = roots.pop()
        self.torchscript = any(
            name == f"{self._root}constants.pkl" or name.startswith(f"{self._root}code/")
            for name in names
        )
        if f"{self._root}byteorder" in names and self.read("byteorder") != b"little":
            raise UnsafeFileError("its numbers are in big-endian order")

    def read(self, name: str) -> bytes:
        """Return a record's bytes; their CRC is compared.

        Raises:
            zipfile.BadZipFile: the CRC differs.
            UnsafeFileError: there is no such record, or it unpacks to more than the file holds.
        """
        try:
            facts = self._zip.getinfo(self._root + name)
        except KeyError:
            raise UnsafeFileError(f"it has no record '{name}'") from None
        # torch stores them as they are; what is packed could unpack to any size
        if facts.compress_type != zipfile.ZIP_STORED or facts.file_size > self._size:
            raise UnsafeFileError(f"its record '{name}' is packed, or larger than the file")
        return self._zip.read(facts)

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class Sealed(type):
    """Type of classes that a pickle may name: it cannot change them for those who come later."""

    def __setattr__(cls, name: str, value: Any) -> NoReturn:
        """Refuse: a pickle's BUILD step sets attributes of whatever it names."""
        raise UnsafeFileError(f"it tries to set '{name}' of a class")


class Plain(dict, metaclass=Sealed):
    """Stands for every kind of dict; attributes that a pickle gives it are left out."""

    __slots__ = ()

    def __setstate__(self, _state: Any) -> None:
        """Leave out attributes, such as the `_metadata` of a state dict."""


class _Counted(Plain):
    """Stands for a dict that is made with a factory for missing entries."""

    __slots__ = ()

    def __init__(self, *_factory: Any) -> None:
        super().__init__()


class _Rebuild:
    """Makes a tensor: called by a pickle as `torch._utils._rebuild_tensor_v2`."""

    __slots__ = ()

    def __call__(
        self, storage: Tensor, offset: int, size: tuple, stride: tuple, *_rest: Any
    ) -> Tensor:
        """Return a tensor of shape `size` on a storage (n,); no element may be outside of it."""
        if not isinstance(storage, Tensor) or len(size) != len(stride):
            raise UnsafeFileError("a tensor is not made of numbers of the file")
        if min((offset, *size, *stride), default=0) < 0:
            raise UnsafeFileError("a tensor has a negative size")
        count, last = 1, offset
        for length, step in zip(size, stride, strict=True):
            count, last = count * length, last + max(length - 1, 0) * step
        # a step of 0 would make a tensor of any size of one number
        if count and (last >= len(storage) or count > len(storage)):
            raise UnsafeFileError("a tensor reaches beyond its numbers")
        return storage.as_strided(tuple(size), tuple(stride), offset)


class Same:
    """Gives its first argument back: a parameter is a tensor, a tagged value is that value."""

    __slots__ = ()

    def __call__(self, value: Any, *_rest: Any) -> Any:
        """Return the value."""
        return value


class _Kind:
    """Names the type of a storage's numbers."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


Find = Callable[[str, str], Any]

# a new object each time: whatever a pickle does to it, the next file does not see it
_TORCH: Mapping[tuple[str, str], Callable[[], Any]] = {
    ("collections", "OrderedDict"): lambda: Plain,
    ("collections", "Counter"): lambda: Plain,
    ("collections", "defaultdict"): lambda: _Counted,
    ("torch", "Size"): lambda: tuple,
    ("torch._utils", "_rebuild_tensor_v2"): _Rebuild,
    ("torch._utils", "_rebuild_parameter"): Same,
}


def tensors_and_containers(module: str, name: str) -> Any:
    """Return what a pickle names, where it is a part of tensors and containers.

    Raises:
        UnsafeFileError: it is anything else; nothing is imported or called.
    """
    if (module, name) in _TORCH:
        return _TORCH[module, name]()
    if module == "torch" and name in _DTYPES:
        return _Kind(_DTYPES[name])
    raise UnsafeFileError(f"it names {module}.{name}, which is no part of tensors or containers")


class _Unpickler(pickle.Unpickler):
    """Builds what `find` lets through; the numbers of tensors are records of the archive."""

    def __init__(self, archive: Archive, find: Find) -> None:
        super().__init__(BytesIO(_bounded(archive.read("data.pkl"))))
        self._archive, self._find = archive, find
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        return self._find(module, name)

    def persistent_load(self, pid: Any) -> Tensor:
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise UnsafeFileError("it refers to something that is no storage")
        _, kind, key, _device, count = pid
        if not isinstance(kind, _Kind) or not isinstance(key, str):
            raise UnsafeFileError("a storage has no known type of numbers")
        if key not in self._storages:
            self._storages[key] = _numbers(self._archive.read(f"data/{key}"), kind.dtype, count)
        return self._storages[key]


def _bounded(content: bytes) -> bytes:
    """Return a pickle after a check that reading it takes no memory beyond its own size.

    Python's reader makes a table (the memo) as large as the largest number that a pickle names: 40
    bytes can ask for 30 GB.
    """
    for opcode, number, _place in pickletools.genops(content):
        if opcode.name in _NUMBERED and number > len(content):
            raise UnsafeFileError("it asks for a table that is larger than the file")
    return content


def _numbers(content: bytes, dtype: torch.dtype, count: Any) -> Tensor:
    """Return a record's numbers (n,)."""
    if len(content) != count * torch.empty(0, dtype=dtype).element_size():
        raise UnsafeFileError("a storage has another length than the file says")
    if not content:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(bytearray(content), dtype=dtype)


def read_pickle(archive: Archive, find: Find = tensors_and_containers) -> Any:
    """Return the content of an archive's `data.pkl`; `find` answers for each name in it.

    Raises:
        UnsafeFileError: a name is refused, or parts contradict each other.
        Exception: whatever a damaged pickle makes of Python's reader.
    """
    return _Unpickler(archive, find).load()
