"""The verified store, and the caches and tables that are kept in it."""

from __future__ import annotations

import json
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from loreal_plugin.files.store import VerifiedStore
from loreal_plugin.inference.table_store import TableStore
from loreal_plugin.students import embedding_cache

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


@pytest.fixture
def old_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries with which the old entries below were made."""
    monkeypatch.setattr(embedding_cache.PIL, "__version__", "1")
    monkeypatch.setattr(embedding_cache.torchvision, "__version__", "2")


def test_an_embedding_cache_of_the_first_version_is_read(tmp_path, old_versions):
    value = {"b": [1, 2.5, None, True], "a": {"é": 'ü "x"', "n": -0.1}}
    assert embedding_cache.cache_key(value) == "7e8ca8a7d4dce40d87b56e6e8843bb03"
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
