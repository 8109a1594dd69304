"""Nothing that a file holds is run, whatever it holds, and nothing is written while it is read."""

from __future__ import annotations

import builtins
import os
import random
import subprocess
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hostile import Call, Scripted, archive, setting, tar_of_old_torch, tensor_pickle, watched
from safetensors.torch import save_file

from loreal_plugin.errors import LorealError
from loreal_plugin.files.sealed import Plain, UnsafeFileError
from loreal_plugin.files.torch_files import read_torch, read_torchscript
from loreal_plugin.weights.formats import RUN, read_tensors
from loreal_plugin.weights.host_checkpoints import read_saved

READERS = {"weights": read_tensors, "checkpoint": read_saved}
MUTATIONS = 400


def write_script(path: Path, module: torch.nn.Module) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), str(path))
    return path


def crafted(folder: Path, outside: Path) -> dict[str, Path]:
    """Return hostile files by what they try; `outside` must never exist."""
    calls = {
        "system": Call(os.system, f"touch {outside}"),
        "mkdir": Call(os.mkdir, str(outside)),
        "open": Call(builtins.open, str(outside), "w"),
        "eval": Call(builtins.eval, f"open({str(outside)!r}, 'w')"),
        "process": Call(subprocess.call, ["touch", str(outside)]),
        "from_file": Call(torch.from_file, str(outside), True, 8),
        "nested": Call(torch.storage._load_from_bytes, b"cos\nsystem\n(Vtouch x\ntR."),
    }
    found = {}
    for name, call in calls.items():
        found[f"{name}, saved"] = folder / f"{name}.pt"
        torch.save({"state_dict": {"w": torch.ones(2)}, "x": call}, found[f"{name}, saved"])
        found[f"{name}, old format"] = folder / f"{name}-old.pt"
        torch.save(
            {"state_dict": {"w": torch.ones(2)}, "x": call},
            found[f"{name}, old format"],
            _use_new_zipfile_serialization=False,
        )
    found["script"] = write_script(folder / "script.pt", Scripted(str(outside)))
    found["tar"] = tar_of_old_torch(folder / "tar.pt", str(outside))
    plain = tensor_pickle()
    found["path"] = archive(
        folder / "path.pt", plain, {"archive/data/0": bytes(16), f"archive/../../{outside}": b"x"}
    )
    found["bomb"] = archive(
        folder / "bomb.pt",
        tensor_pickle(size=(1 << 28,), count=1 << 28),
        {"archive/data/0": bytes(1 << 22)},
        compression=zipfile.ZIP_DEFLATED,
    )
    for name, words in {
        "beyond": {"size": (5,)},
        "offset": {"offset": 3, "size": (2,)},
        "stretched": {"size": (1 << 40,), "stride": (0,)},
        "negative": {"offset": -1},
        "length": {"count": 1 << 40},
    }.items():
        found[name] = archive(folder / f"{name}.pt", tensor_pickle(**words))
    for what in (
        b"ccollections\nOrderedDict\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"cx\ny\n",
    ):
        name = f"attribute of {what.split()[-1].decode()}"
        value = b"ctorch._utils\n_rebuild_parameter\n"
        found[name] = archive(folder / f"{name}.pt", setting(what, "__init__", value))
    return found


@pytest.mark.parametrize("reader", READERS)
def test_crafted_files_run_nothing_and_write_nothing(tmp_path, monkeypatch, reader):
    monkeypatch.chdir(tmp_path)
    outside = tmp_path / "made"
    files = crafted(tmp_path, outside)
    before = sorted(os.listdir(tmp_path))
    for name, path in files.items():
        with watched() as events:
            try:
                READERS[reader](path)
            except LorealError as error:
                assert str(path) in str(error) and "\n" not in str(error), name
        assert not events, f"{name}: {events}"
    assert sorted(os.listdir(tmp_path)) == before
    assert not outside.exists()
    # what one file tried to change is as it was for the next
    assert read_torch(archive(tmp_path / "good.pt", tensor_pickle()))["w"].shape == (4,)
    assert not vars(Plain).keys() & {"evil"}


def test_the_watch_sees_what_torch_itself_would_do(tmp_path):
    path = write_script(tmp_path / "script.pt", Scripted(str(tmp_path / "made")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.load(str(path))
    assert (tmp_path / "made").exists()
    torch.save(Call(os.mkdir, str(tmp_path / "folder")), tmp_path / "x.pt")
    with watched() as events:
        torch.load(tmp_path / "x.pt", weights_only=False)
    assert any(event.startswith("os.mkdir") for event in events)


def test_an_archive_of_code_is_read_without_it_unless_a_variable_names_the_file(
    tmp_path, monkeypatch, capsys
):
    path = write_script(tmp_path / "plain.pt", torch.nn.Linear(3, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = torch.jit.load(str(path)).state_dict()
    ours = read_torchscript(path)
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name]) for name in ours)
    assert not capsys.readouterr().out
    monkeypatch.setenv(RUN, os.pathsep.join([str(tmp_path / "other"), str(path)]))
    named = read_tensors(path)
    assert all(torch.equal(named[name], expected[name]) for name in expected)
    assert f"{RUN} names it: this runs code that it holds" in capsys.readouterr().out


def test_a_checkpoint_that_is_an_archive_of_code_is_refused(tmp_path):
    path = write_script(tmp_path / "model.pth.tar-1", torch.nn.Linear(3, 2))
    with pytest.raises(LorealError, match="TorchScript"):
        read_saved(path)
    with pytest.raises(UnsafeFileError):
        read_torch(path)


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Return bytes of which some are changed, left out, doubled or moved."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        at, length = draw.randrange(len(changed)), draw.randint(1, 24)
        kind = draw.randrange(5)
        if kind == 0:
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del changed[at : at + length]
        elif kind == 2:
            changed[at:at] = changed[at : at + length]
        elif kind == 3:
            other = draw.randrange(len(changed))
            changed[at : at + length] = changed[other : other + length]
        else:
            changed[at : at + length] = draw.randbytes(length)
        changed = changed or bytearray(b"\0")
    return bytes(changed)


def originals(folder: Path) -> dict[str, tuple[bytes, Callable[[Path], object]]]:
    """Return small files of every kind and what reads them."""
    state = {"state_dict": {"a.w": torch.arange(4.0), "b": torch.ones(2).half()}, "epoch": 3}
    torch.save(state, folder / "new.pt")
    torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)
    write_script(folder / "script.pt", torch.nn.Linear(2, 1))
    save_file({"w": torch.arange(4.0)}, folder / "m.safetensors")
    found = {path.name: (path.read_bytes(), read_tensors) for path in sorted(folder.iterdir())}
    return found | {"checkpoint": (found["new.pt"][0], read_saved)}


def with_whole_crc(content: bytes, draw: random.Random, path: Path) -> None:
    """Write an archive whose pickle alone is mutated; its CRC is right, so it is read."""
    with zipfile.ZipFile(path.with_name("whole.zip")) as old:
        records = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, record in records.items():
            new.writestr(name, mutated(record, draw) if name.endswith("data.pkl") else record)


def test_a_pickle_of_forty_bytes_does_not_take_the_memory(tmp_path):
    path = archive(tmp_path / "x.pt", b"\x80\x02}r\xff\xff\xff\x7f.")
    with pytest.raises(LorealError, match="table that is larger than the file"):
        read_tensors(path)


@pytest.mark.filterwarnings("ignore")
def test_mutated_files_are_read_or_refused_and_nothing_else_happens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "originals").mkdir()
    files = originals(tmp_path / "originals")
    draw, start, refused, done = random.Random(5), time.process_time(), 0, 0
    for name, (content, read) in files.items():
        path = tmp_path / f"file{Path(name).suffix}"
        (tmp_path / "whole.zip").write_bytes(content)
        pickled = zipfile.is_zipfile(tmp_path / "whole.zip")
        for number in range(MUTATIONS):
            if pickled and number % 2:
                with_whole_crc(content, draw, path)
            else:
                path.write_bytes(mutated(content, draw))
            with watched() as events:
                try:
                    read(path)
                except LorealError:
                    refused += 1
            assert not events, f"{name}, mutation {number}: {events}"
            done += 1
    assert done == MUTATIONS * len(files) and refused > done / 4
    assert time.process_time() - start < 60
    assert {item.suffix for item in tmp_path.iterdir()} <= {"", ".zip", ".pt", ".safetensors"}
