"""Files carry or have hashes, and every changed bit is seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loreal_plugin.digests import digest, digest_bytes
from loreal_plugin.files import atomic, read_checked, read_json, write_checked, write_json
from loreal_plugin.files.checked_json import OLD
from loreal_plugin.files.manifest import Manifest, damage

VALUE = {"name": "café", "score": 0.30000000000000004, "rows": [{"a": None}, 1e-7], "checked_by": 1}


def test_what_is_written_is_read(tmp_path):
    write_checked(tmp_path / "x.json", VALUE)
    assert read_checked(tmp_path / "x.json") == (VALUE, "")
    # what was read and is written again has one hash, of its own
    write_checked(tmp_path / "y.json", json.loads((tmp_path / "x.json").read_text()) | {"n": 2})
    assert read_checked(tmp_path / "y.json") == (VALUE | {"n": 2}, "")


def test_names_that_are_no_utf8_are_read_as_they_were(tmp_path):
    value = {os.fsdecode(b"caf\xe9.png"): [os.fsdecode(b"\xff\xfe"), "é"]}
    write_checked(tmp_path / "x.json", value)
    assert read_checked(tmp_path / "x.json") == (value, "")
    write_json(tmp_path / "y.json", value)
    assert read_json(tmp_path / "y.json") == value
    assert digest(value) != digest({"caf?.png": ["??", "é"]})


def test_every_single_flipped_bit_is_found(tmp_path):
    path = tmp_path / "x.json"
    write_checked(path, VALUE)
    whole = path.read_bytes()
    for place in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        value, fault = read_checked(path)
        assert value == {} and fault not in ("", OLD), f"bit {place}: {fault}"


def test_files_without_a_hash_are_read_and_said_to_be_old(tmp_path):
    write_json(tmp_path / "x.json", VALUE)
    assert read_checked(tmp_path / "x.json") == (VALUE, OLD)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_object_is_told(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    value, fault = read_checked(tmp_path / "x.json")
    assert value == {} and fault.startswith("is no JSON")
    assert read_checked(tmp_path / "none.json") == ({}, "is not there")


def test_a_manifest_names_what_is_gone_changed_or_unreadable(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    known = Manifest(tmp_path).hashes(tmp_path / name for name in "abc")
    assert damage(tmp_path, known) == []
    (tmp_path / "a").write_text("A")
    (tmp_path / "b").unlink()
    (tmp_path / "c").unlink()
    (tmp_path / "c").mkdir()
    assert damage(tmp_path, known) == [
        f"{tmp_path / 'a'} is not what was written",
        f"{tmp_path / 'b'} is gone",
        f"{tmp_path / 'c'} cannot be read (Is a directory)",
    ]


def test_a_manifest_opens_nothing_outside_its_folder_and_no_device(tmp_path):
    root = tmp_path / "run"
    root.mkdir()
    (tmp_path / "outside").write_bytes(b"x")
    os.mkfifo(root / "pipe")  # would wait for ever
    names = ["../outside", "/dev/zero", "a/../../outside", "pipe"]
    found = damage(root, dict.fromkeys(names, digest_bytes(b"x")))
    assert [text.rsplit(" ", 3)[1:] for text in found if "pipe" not in text] == [
        ["outside", "its", "folder"]
    ] * 3
    assert len(found) == 4 and f"{root / 'pipe'} is a pipe or a device" in found


def test_a_manifest_brings_files_and_names_to_the_disk_and_hashes_what_changed(
    tmp_path, monkeypatch
):
    synced: list[Path] = []
    real = os.fsync
    monkeypatch.setattr(
        atomic.os, "fsync", lambda h: synced.append(os.readlink(f"/proc/self/fd/{h}")) or real(h)
    )
    (tmp_path / "in").mkdir()
    for name in ("a", "in/b"):
        (tmp_path / name).write_text(name)
    manifest = Manifest(tmp_path)
    files = [tmp_path / "a", tmp_path / "in" / "b"]
    first = manifest.hashes(files)
    assert {str(path) for path in (*files, tmp_path, tmp_path / "in")} == set(synced)
    synced.clear()
    assert manifest.hashes(files) == first and not synced
    (tmp_path / "a").write_text("longer")
    assert manifest.hashes(files)["a"] != first["a"] and str(files[0]) in synced


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_files_and_locks_have_the_mode_that_the_umask_leaves(tmp_path, umask, mode):
    program = (
        "import sys; from pathlib import Path\n"
        "from loreal_plugin.files import write_checked\n"
        "from loreal_plugin.files.locks import shared_lock\n"
        "folder = Path(sys.argv[1]); write_checked(folder / 'x.json', {})\n"
        "shared_lock(folder / 'x.lock').acquire()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    subprocess.run(command, check=True, umask=umask, cwd=Path(__file__).parents[2])
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}
    assert {path.name for path in tmp_path.iterdir()} == {"x.json", "x.lock"}
