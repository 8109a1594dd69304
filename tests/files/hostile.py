"""Files that mean harm, and a watch on what a reader does while it reads them."""

from __future__ import annotations

import io
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

HARMFUL = ("os.", "subprocess.", "socket.", "shutil.", "exec", "ctypes.", "webbrowser.", "import")
_events: list[str] | None = None


def _watch(event: str, words: tuple) -> None:
    if _events is None:
        return
    if event == "open" and isinstance(words[1], str) and set(words[1]) & set("wax+"):
        _events.append(f"open {words[0]} {words[1]}")
    elif event.startswith(HARMFUL) and not _torch_completes_itself(event, words):
        _events.append(f"{event} {words[:1]}")


sys.addaudithook(_watch)
"".encode("cp437")  # what zip files of old name entries in: imported now, not when one is read


def _torch_completes_itself(event: str, words: tuple) -> bool:
    """Say whether torch imports a module of its own, as it does late for rare kinds of tensors."""
    if event == "import":
        return words[0].split(".")[0] == "torch"
    if event in ("os.listdir", "os.scandir"):
        return True
    frame = sys._getframe()
    while frame and frame.f_code.co_name != "_find_and_load":
        frame = frame.f_back
    return event == "exec" and frame is not None


@contextmanager
def watched() -> Iterator[list[str]]:
    """Give a list of all that is written, started, imported or compiled inside the block."""
    global _events
    _events = found = []
    try:
        yield found
    finally:
        _events = None


class Call:
    """Is pickled as a call of any function."""

    def __init__(self, function: Any, *words: Any) -> None:
        self.function, self.words = function, words

    def __reduce__(self) -> tuple:
        return self.function, self.words


def archive(path: Path, content: bytes, more: dict[str, bytes] | None = None, **how: Any) -> Path:
    """Write a zip of torch's kind around a pickle."""
    with zipfile.ZipFile(path, "w", **how) as file:
        file.writestr("archive/data.pkl", content)
        for name, record in (
            more or {"archive/data/0": bytes(16), "archive/version": b"3"}
        ).items():
            file.writestr(name, record)
    return path


def tensor_pickle(
    offset: int = 0, size: tuple = (4,), stride: tuple = (1,), count: int = 4
) -> bytes:
    """Return the pickle of a state dict with one float tensor in storage 0."""

    def put(value: Any) -> bytes:
        return pickle.dumps(value, protocol=2)[2:-1]

    storage = b"(" + put("storage") + b"ctorch\nFloatStorage\n" + put("0") + put("cpu")
    storage += put(count) + b"tQ"
    made = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + put(offset) + put(size) + put(stride)
    return b"\x80\x02}" + put("w") + made + b"\x89}tRs."


def setting(what: bytes, name: str, value: bytes) -> bytes:
    """Return a pickle that sets an attribute of what it names: BUILD with a table of slots."""
    key = pickle.dumps(name, protocol=2)[2:-1]
    return b"\x80\x02" + what + b"N}" + key + value + b"s\x86b0}."


def tar_of_old_torch(path: Path, outside: str) -> Path:
    """Write the format of torch's first releases, with a member that leads elsewhere."""
    with tarfile.open(path, "w") as file:
        link = tarfile.TarInfo("storages")
        link.type, link.linkname = tarfile.SYMTYPE, outside
        file.addfile(link)
        for name in ("tensors", "pickle", f"../../{outside}"):
            content = pickle.dumps(0)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


class Scripted(torch.nn.Module):
    """A module whose `__setstate__` makes a file as soon as TorchScript loads it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path, self.w = path, torch.ones(2)

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path, self.training = state
        self.w = torch.from_file(self.path, True, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.w
