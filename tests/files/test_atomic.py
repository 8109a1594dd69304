"""Files are written whole or not at all, and reach the disk."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from loreal_plugin import files
from loreal_plugin.errors import LorealError
from loreal_plugin.files import atomic
from loreal_plugin.files.tensors import write_tensors, write_torch
from loreal_plugin.paths import bundle_root

TENSORS = {"a": torch.arange(6.0).view(2, 3)}
WRITERS = {
    "bytes": lambda path, text: files.write_bytes(path, text.encode()),
    "text": files.write_text,
    "json": lambda path, text: files.write_json(path, {"text": text}),
    "tensors": lambda path, text: write_tensors(path, TENSORS, {"text": text}),
    "torch": lambda path, text: write_torch(path, {"text": text}),
}


def failing(*_: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.fixture(params=WRITERS)
def write(request: pytest.FixtureRequest) -> Any:
    return WRITERS[request.param]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, write, call
):
    path = tmp_path / "new" / "file"
    write(path, "old")
    old = path.read_bytes()
    monkeypatch.setattr(os, call, failing)
    with pytest.raises((OSError, LorealError), match="No space left"):
        write(path, "new")
    assert path.read_bytes() == old and os.listdir(path.parent) == ["file"]
    monkeypatch.undo()
    write(path, "new")
    assert path.read_bytes() != old and os.listdir(path.parent) == ["file"]


def test_a_block_that_is_interrupted_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_file_then_name_reach_the_disk(tmp_path, monkeypatch, write):
    """The content before the name points to it, the folder after that."""
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def renamed(*paths: Any) -> None:
        done.append("name")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write(tmp_path / "file", "x")
    assert done == ["file", "name", "folder"]


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_mode_is_what_the_umask_leaves(tmp_path, write, mask):
    before = os.umask(mask)
    try:
        write(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


def test_a_mode_that_is_asked_for_is_given(tmp_path):
    with files.replacing(tmp_path / "file", mode=0o755) as part:
        part.write_text("x")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o755


def test_what_a_killed_process_left_goes_with_the_next_write_and_a_living_one_s_stays(tmp_path):
    path = tmp_path / "file[1]"  # a name with letters that patterns use
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom loreal_plugin.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as part:\n"
        "    part.write_text('half')\n    print(flush=True)\n    time.sleep(60)\n"
    )
    root = bundle_root()
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], cwd=root, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        files.write_text(path, "mine")
        assert len(os.listdir(tmp_path)) == 2
        other.send_signal(signal.SIGKILL)
    files.write_text(tmp_path / "file", "of another name")
    assert len(os.listdir(tmp_path)) == 3
    files.write_text(path, "again")
    assert sorted(os.listdir(tmp_path)) == ["file", "file[1]"] and path.read_text() == "again"


@pytest.mark.parametrize("kind", ["tensors", "torch"])
def test_a_writer_of_tensors_keeps_the_file_that_is_locked(tmp_path, monkeypatch, kind):
    """A library that made a file of its own would leave ours, with the lock, behind."""
    seen: dict[str, int] = {}
    prepared = atomic.prepared

    def spy(path: Path, create: Callable[[Path], int]) -> tuple[int, Path]:
        handle, part = prepared(path, create)
        seen["made"] = os.fstat(handle).st_ino
        return handle, part

    monkeypatch.setattr(atomic, "prepared", spy)
    WRITERS[kind](tmp_path / "file", "x")
    assert (tmp_path / "file").stat().st_ino == seen["made"]


def test_links_are_replaced_in_one_step(tmp_path, monkeypatch):
    link = tmp_path / "link"
    (tmp_path / ".link.0123abcd.part").symlink_to("left by a killed process")
    files.write_link(link, tmp_path / "a")
    files.write_link(link, tmp_path / "b")
    assert os.readlink(link) == str(tmp_path / "b")
    files.remove_unfinished(link)
    assert os.listdir(tmp_path) == ["link"]
    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="No space left"):
        files.write_link(link, tmp_path / "c")
    assert os.readlink(link) == str(tmp_path / "b") and os.listdir(tmp_path) == ["link"]


def test_read_only_places_are_told_from_full_ones():
    assert files.is_read_only(OSError(30, "Read-only file system"))
    assert files.is_read_only(PermissionError(13, "Permission denied"))
    assert not files.is_read_only(OSError(28, "No space left on device"))


def test_writing_text_and_json_needs_no_torch():
    program = "import sys, loreal_plugin.files; print('torch' in sys.modules)"
    root = bundle_root()
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_json_reads_back_and_anything_else_is_none(tmp_path):
    path = tmp_path / "a.json"
    assert files.read_json(path) is None
    files.write_json(path, {"é": 1})
    assert path.read_text(encoding="utf-8") == '{\n  "é": 1\n}\n'
    assert files.read_json(path) == {"é": 1}
    path.write_text("[1]")
    assert files.read_json(path) is None
    path.write_text('{"é":')
    assert files.read_json(path) is None


def test_processes_that_write_one_file_leave_one_of_their_files(tmp_path):
    path, root = tmp_path / "file", bundle_root()
    program = (
        "import sys\nfrom pathlib import Path\nfrom loreal_plugin.files import write_text\n"
        "for _ in range(50):\n    write_text(Path(sys.argv[1]), sys.argv[2] * 100_000)\n"
    )
    others = [
        subprocess.Popen([sys.executable, "-c", program, str(path), letter], cwd=root)
        for letter in "ab"
    ]
    while any(other.poll() is None for other in others):
        if path.exists():
            text = path.read_text()
            assert len(text) == 100_000 and len(set(text)) == 1
    assert [other.returncode for other in others] == [0, 0]
    assert os.listdir(tmp_path) == ["file"]


def test_tensors_are_written_as_they_are_wherever_they_lie(tmp_path):
    tensors = {"t": torch.arange(6).view(2, 3).t(), "g": torch.ones(2, requires_grad=True)}
    write_tensors(tmp_path / "x", tensors, {"of": "x"})
    found = load_file(tmp_path / "x")
    assert all(torch.equal(found[name], value) for name, value in tensors.items())


def test_two_writes_of_the_same_content_give_the_same_bytes(tmp_path, write):
    """No name of a prepared file may get into a file."""
    write(tmp_path / "a", "x")
    write(tmp_path / "b", "x")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
