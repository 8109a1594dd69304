"""Writing whole files, hashes that must never change, and the verified store."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from loreal_plugin import files
from loreal_plugin.errors import LorealError
from loreal_plugin.files import atomic
from loreal_plugin.files.store import VerifiedStore
from loreal_plugin.files.tensors import digest_tensors, write_tensors, write_torch
from loreal_plugin.inference.table_store import TableStore
from loreal_plugin.mining.prompts import prompts_sha256
from loreal_plugin.mining.transcript import request_key
from loreal_plugin.runs import keys
from loreal_plugin.students import embedding_cache
from loreal_plugin.students.learned import fingerprint
from loreal_plugin.weights.sources import weights_fingerprint

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
    root = Path(__file__).parents[1]
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
    prepared = atomic._prepared

    def spy(path: Path) -> tuple[int, Path]:
        handle, part = prepared(path)
        seen["made"] = os.fstat(handle).st_ino
        return handle, part

    monkeypatch.setattr(atomic, "_prepared", spy)
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
    root = Path(__file__).parents[1]
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


# Hashes: finished runs, caches and tables are found by them. The numbers are those of the first
# versions; a change that moves one makes everybody's runs and caches unknown.
VALUE = {"b": [1, 2.5, None, True], "a": {"é": 'ü "x"', "n": -0.1}}
MIXED = {
    "w": torch.arange(6.0).view(2, 3),
    "h": torch.tensor([1.5, -2], dtype=torch.float16),
    "b": torch.tensor([[1.5]], dtype=torch.bfloat16),
    "i": torch.tensor(7),
    "t": torch.arange(6).view(2, 3).t(),
}
CFG = {
    "SEED": 1,
    "INPUT": {"SIZE": (224, 224)},
    "TRAINER": {"NAME": "MaPLe", "MAPLE": {"N_CTX": 2}, "LOREAL": {"PHI": 96, "DRIFT": "ridge"}},
}


def stage_key(loreal: bool) -> str:
    config = keys.as_meant(keys.stage_config(CFG, host_node="MAPLE", loreal=loreal))
    facts = {"weights": "w", "images": "i", "host": "h"}
    return keys.stage_key(config, parents={"alpha": "1"}, attributes=["color"], **facts)


@pytest.mark.parametrize(
    ("make", "start"),
    [
        (lambda: files.digest(VALUE), "21d93dd2313c46e585266a84261f853e"),
        (lambda: request_key(VALUE), "e86491896f1e01517a2476ad6e0f2c21"),
        (lambda: stage_key(False), "f6109d3332436ba0e4790d77d367af50"),
        (lambda: stage_key(True), "4e6d405726fbd65404bd2aaae5f3b2a9"),
        (lambda: digest_tensors(MIXED.items()), "c7441bf458afb8af3ea61a4164d7a7ff"),
        (lambda: fingerprint(MIXED), "dcd2647412daceb44967f4b72d716c33"),
        (lambda: weights_fingerprint("demo"), "ab2b83973d55c94fdd57e6f37a97fd0b"),
        (lambda: weights_fingerprint("demo-2"), "f4892ddebbd832619638d4b84e506968"),
        (prompts_sha256, "bfa537f4a5567a2f6320f8b970d6cf33"),
    ],
)
def test_hashes_are_what_they_were(make, start):
    found = make()
    assert found.startswith(start) and len(found) == 64


def test_hashes_of_pictures_are_what_they_were(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 3)
    items = [
        SimpleNamespace(impath=str(tmp_path / name), label=label, classname="cat")
        for label, name in enumerate("ab")
    ]
    found = embedding_cache.pictures_digest(items)
    assert found == "6a0b1d67884e58786e97bc51544cbba4cc3e1279d8ff46da2fa32bcdb44a053e"
    dataset = SimpleNamespace(train_x=items[:1], val=None, test=items[1:])
    found = keys.images_digest(dataset, lambda path: Path(path).name)
    assert found == "258710aa09e47839f3709871ca22efc480f1a4b7d2adf0a53044eb6776bf129b"


def test_a_long_file_has_the_hash_of_its_bytes(tmp_path):
    content = np.arange(3 << 18, dtype=np.int64).tobytes()
    (tmp_path / "file").write_bytes(content)
    assert files.digest_file(tmp_path / "file") == files.digest_bytes(content)


@pytest.fixture
def old_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries with which the old entries below were made."""
    monkeypatch.setattr(embedding_cache.PIL, "__version__", "1")
    monkeypatch.setattr(embedding_cache.torchvision, "__version__", "2")


def test_an_embedding_cache_of_the_first_version_is_read(tmp_path, old_versions):
    assert embedding_cache.cache_key(VALUE) == "7e8ca8a7d4dce40d87b56e6e8843bb03"
    name, values = "579ed3d039abf817d0730536359778db", torch.arange(4.0).view(2, 1, 1, 2)
    save_file({"embeddings": values}, tmp_path / f"{name}.safetensors")
    ingredients = {"versions": {"cache": 1, "pillow": "1", "torchvision": "2"}, "x": 1}
    sha = "f05c2b91843a4bd0ef35bcf2c6129392102cdedb1022a4091727a66db5754850"
    note = {"ingredients": ingredients, "sha256": sha, "shape": [2, 1, 1, 2]}
    (tmp_path / f"{name}.json").write_text(json.dumps(note))
    found = embedding_cache.EmbeddingCache(tmp_path).get_or_build({"x": 1}, pytest.fail)
    assert torch.equal(found, values)


def test_a_table_of_the_first_version_is_read(tmp_path):
    name, values = "statistics-8f769adbb200e5d1", {"mean": torch.arange(3.0)}
    save_file(values, tmp_path / f"{name}.safetensors")
    sha = "b0873cd41ea9ca734fd4292a22c574cb13085d16073c2097f2eddfc545e53883"
    note = {"facts": {"n": 3}, "ingredients": {"owner": "x", "tables": 1}, "sha256": sha}
    (tmp_path / f"{name}.json").write_text(json.dumps(note, indent=1) + "\n")
    tensors, facts = TableStore(tmp_path).read("statistics", {"owner": "x"})
    assert torch.equal(tensors["mean"], values["mean"]) and facts == {"n": 3}


INGREDIENTS = {"of": "a", "size": (1, 2), "version": 1}


def stored(folder: Path, value: float = 1.0) -> VerifiedStore:
    store = VerifiedStore(folder, "table")
    store.write("x", INGREDIENTS, {"a": torch.full((4,), value)}, {"n": 3})
    return store


def test_an_entry_reads_back(tmp_path):
    store = stored(tmp_path / "new")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensors, facts = store.read("x", dict(INGREDIENTS))
        assert store.read("y", INGREDIENTS) is None  # nothing there is no reason for a warning
    assert torch.equal(tensors["a"], torch.ones(4)) and facts == {"n": 3}
    assert sorted(os.listdir(store.folder)) == ["x.json", "x.safetensors"]
    store.remove("x")
    store.remove("x")
    assert store.read("x", INGREDIENTS) is None and os.listdir(store.folder) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("flip", "its hash differs"),
        ("truncate", "its hash differs"),
        ("no array", "No such file"),
        ("no note", None),
        ("half a note", "Expecting"),
        ("other note", "'ingredients'"),
        ("other version", "belongs to something else"),
    ],
)
def test_a_damaged_entry_is_none_with_one_warning_that_names_it(tmp_path, damage, said):
    store, ingredients = stored(tmp_path), INGREDIENTS
    array, note = tmp_path / "x.safetensors", tmp_path / "x.json"
    content = array.read_bytes()
    if damage == "flip":
        array.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "truncate":
        array.write_bytes(content[:-4])
    elif damage == "no array":
        array.unlink()
    elif damage == "no note":
        note.unlink()
    elif damage == "half a note":
        note.write_text(note.read_text()[:20])
    elif damage == "other note":
        note.write_text("{}")
    else:
        ingredients = INGREDIENTS | {"version": 2}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert store.read("x", ingredients) is None
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == (said is not None)
    assert all(said in text and f"table {array}" in text for text in texts)
    stored(tmp_path)
    assert store.read("x", INGREDIENTS) is not None


@pytest.mark.parametrize("number", [1, 2])
def test_a_write_that_stops_half_way_leaves_no_entry(tmp_path, monkeypatch, number):
    """The old tensors with the new note, or the other way round, would be a wrong entry."""
    store, left, replace = stored(tmp_path), [number], os.replace

    def stop(*paths: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        stored(tmp_path, 2.0)
    assert store.read("x", INGREDIENTS) is None
    assert not list(tmp_path.glob(".*"))


# a reader may meet the array of one, the note of another
@pytest.mark.filterwarnings("ignore:table .* is broken:UserWarning")
def test_writers_and_readers_of_one_entry_do_not_disturb_each_other(tmp_path):
    """Every read gives what one of the writers wrote, or nothing."""
    store = stored(tmp_path, 0.0)

    def work(number: int) -> None:
        if number % 2:
            stored(tmp_path, float(number))
            return
        found = store.read("x", INGREDIENTS)
        assert found is None or len(found[0]["a"].unique()) == 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(80)))
    stored(tmp_path, 5.0)
    assert torch.equal(store.read("x", INGREDIENTS)[0]["a"], torch.full((4,), 5.0))
    assert sorted(os.listdir(tmp_path)) == ["x.json", "x.safetensors"]


def test_processes_that_write_one_file_leave_one_of_their_files(tmp_path):
    path, root = tmp_path / "file", Path(__file__).parents[1]
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
    tensors = {"t": MIXED["t"], "g": torch.ones(2, requires_grad=True)}
    write_tensors(tmp_path / "x", tensors, {"of": "x"})
    found = load_file(tmp_path / "x")
    assert all(torch.equal(found[name], value) for name, value in tensors.items())


def test_two_writes_of_the_same_content_give_the_same_bytes(tmp_path, write):
    """No name of a prepared file may get into a file."""
    write(tmp_path / "a", "x")
    write(tmp_path / "b", "x")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
