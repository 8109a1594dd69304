"""What a server can do wrong, and that the right bytes stand in their places all the same."""

from __future__ import annotations

import errno
import io
import shutil
import subprocess
import tarfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from python_at_once import python_at_once

from loreal_plugin.download import get as get_module
from loreal_plugin.download import transfer
from loreal_plugin.download.get import RECORD, WORK, get_dataset
from loreal_plugin.errors import DataError
from loreal_plugin.files import read_json

WHOLE = "3 classes, 45 images (train 24, val 6, test 15)"


def kept(data: Path) -> list[Path]:
    """Return what lies among the downloads, but for the files of locks."""
    return [path for path in (data / WORK).iterdir() if path.suffix != ".lock"]


def test_archives_come_into_their_places(pets: Path, server):
    assert str(get_dataset("oxford_pets", pets)) == WHOLE
    folder = pets / "oxford_pets"
    assert len(list((folder / "images").glob("*.jpg"))) == 45 and not kept(pets)
    record = read_json(folder / RECORD)["images.tar.gz"]
    assert record["as_published"] and record["from"] == server.url("images.tar.gz")
    asked = len(server.asked)
    assert str(get_dataset("oxford_pets", pets)) == WHOLE and len(server.asked) == asked
    assert not kept(pets)


def test_a_cut_transfer_is_gone_on_with(pets: Path, server):
    size = (server.folder / "images.tar.gz").stat().st_size
    server.faults["images.tar.gz"] = ["cut", "cut"]
    assert str(get_dataset("oxford_pets", pets)) == WHOLE
    ranges = [wanted for name, wanted in server.asked if name == "images.tar.gz"]
    assert ranges == ["", f"bytes={size // 2}-", f"bytes={size // 2 + (size - size // 2) // 2}-"]


def test_a_server_that_begins_anew_is_understood(pets: Path, server):
    server.faults["images.tar.gz"] = ["cut", "all"]
    assert str(get_dataset("oxford_pets", pets)) == WHOLE


def test_a_call_that_ended_is_gone_on_with(pets: Path, server, monkeypatch):
    monkeypatch.setattr(transfer, "TRIES", 1)
    server.faults["images.tar.gz"] = ["cut", "404"]
    assert get_dataset("oxford_pets", pets).fault
    (part,) = (pets / WORK / "oxford_pets").glob("images.tar.gz.*.part")
    have = part.stat().st_size
    assert str(get_dataset("oxford_pets", pets)) == WHOLE
    assert server.asked[-1] == ("images.tar.gz", f"bytes={have}-")
    # the annotations had come with the first call
    assert [name for name, _ in server.asked].count("annotations.tar.gz") == 1


@pytest.mark.parametrize(
    ("fault", "says"),
    [("404", "404 NOT FOUND"), ("page", "answers with a web page"), ("", "not the published file")],
)
def test_the_next_source_is_taken(pets: Path, server, use_table, capsys, fault: str, says: str):
    good = server.folder / "mirror.tar.gz"
    shutil.copy(server.folder / "images.tar.gz", good)
    first = server.source("images.tar.gz")
    if fault:
        server.faults["images.tar.gz"] = [fault]
    else:
        first["sha256"] = "0" * 64
    use_table(
        "oxford_pets",
        {"gives": ["images"], "sources": [first, {"url": server.url("mirror.tar.gz")}]},
        {"gives": ["annotations"], "sources": [server.source("annotations.tar.gz")]},
    )
    assert str(get_dataset("oxford_pets", pets)) == WHOLE
    said = capsys.readouterr().out
    assert says in said and "mirror.tar.gz: SHA-256" in said and "no hash is published" in said
    assert not list(pets.rglob("*.tar.gz"))


def test_a_hostile_archive_writes_nothing(pets: Path, server, use_table, capsys):
    bad = server.folder / "bad.tar"
    with tarfile.open(bad, "w") as packed:
        for name in ("images/a.jpg", "../../../../evil.jpg"):
            packed.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    use_table(
        "oxford_pets",
        {"gives": ["images"], "sources": [{"url": server.url("bad.tar")}]},
        {"gives": ["annotations"], "sources": []},
    )
    assert get_dataset("oxford_pets", pets).fault
    assert "leads out of the folder" in capsys.readouterr().out
    assert not list(pets.parent.rglob("evil.jpg")) and not (pets / "oxford_pets/images").exists()


def test_a_damaged_archive_without_a_hash_is_sent_again(pets: Path, server, use_table, capsys):
    archive = server.folder / "images.tar.gz"
    use_table(
        "oxford_pets",
        {"gives": ["images"], "sources": [{"url": server.url(archive.name)}]},
        {"gives": ["annotations"], "sources": [server.source("annotations.tar.gz")]},
    )
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-50] + bytes(50))
    assert get_dataset("oxford_pets", pets).fault
    assert "images.tar.gz is damaged" in capsys.readouterr().out and not kept(pets)
    assert archive.name not in read_json(pets / "oxford_pets" / RECORD)
    archive.write_bytes(whole)
    assert str(get_dataset("oxford_pets", pets)) == WHOLE


def test_a_second_command_waits_for_the_first(pets: Path, server, capsys):
    script = "import sys; from loreal_plugin.download.get import _work_folder as held\n"
    script += "from functools import partial\nfrom pathlib import Path\n"
    script += "say = partial(print, flush=True)  # a pipe is no terminal\n"
    script += "with held(Path(sys.argv[1]), 'oxford_pets', say): print('held')"
    pets.mkdir()
    with get_module._work_folder(pets, "oxford_pets", print):
        words = [python_at_once(), "-c", script, str(pets)]
        second = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert second.stdout is not None
        assert "waiting for it" in second.stdout.readline()
    assert second.communicate(timeout=60)[0] == "held\n" and second.returncode == 0


def test_too_little_room_is_said_before_anything_is_sent(pets: Path, server, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(get_module.shutil, "disk_usage", lambda _path: usage(9, 9, 100))
    with pytest.raises(DataError, match="oxford_pets needs about .* GB .* are free; free some"):
        get_dataset("oxford_pets", pets)
    assert not server.asked


@pytest.mark.parametrize("place", ["transfer", "unpack"])
def test_a_full_disk_is_one_sentence_and_the_next_call_goes_on(
    pets: Path, server, monkeypatch, place: str
):
    def full(*_args: Any, **_kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if place == "transfer":
            patch.setattr(transfer, "_write", full)
        else:
            patch.setattr(get_module, "unpack", full)
        with pytest.raises(DataError, match="disk full at .*; free some space and run the same"):
            get_dataset("oxford_pets", pets)
    assert not (pets / "oxford_pets" / "images").exists()
    asked = len(server.asked)
    assert str(get_dataset("oxford_pets", pets)) == WHOLE
    # what had arrived whole is not sent again
    assert len(server.asked) - asked == (2 if place == "transfer" else 1)
