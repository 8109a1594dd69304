"""The embedding cache: work is counted, entries are verified; the key has tests elsewhere."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest
import torch

from loreal_plugin.errors import DataError
from loreal_plugin.files import caches
from loreal_plugin.students import embedding_cache
from loreal_plugin.students import embedding_cache as cache_module
from loreal_plugin.students.embedding_cache import (
    EmbeddingCache,
    cache_key,
    encode_views,
    pictures_digest,
)

INGREDIENTS = {
    "pictures": "p",
    "view_seed": 1,
    "n_views": 2,
    "views": "paired",
    "student": "alpha",
    "learned": "l",
    "weights": "w",
    "size": 64,
    "recipe": {"scale": (0.08, 1.0)},
    "dtype": "float32",
    "host": "r1",
    "shims": ["a"],
}


class Pictures(torch.utils.data.Dataset):
    """Three pictures of two views each, told apart by their pixel values."""

    n_views = 2

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int):
        return (
            torch.full((2, 3, 4, 4), float(index)) + torch.arange(2.0).view(2, 1, 1, 1) / 10,
            index,
        )


class Encoder:
    def __init__(self) -> None:
        self.calls = 0
        self.largest = 0

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.largest = max(self.largest, len(pictures))
        return pictures.mean((2, 3))[:, None, :]  # (n, F=1, 3)


def build_with(encoder: Encoder):
    return lambda: encode_views(encoder, Pictures(), batch_size=4)


def test_embeddings_are_in_order_and_batches_count_views():
    encoder = Encoder()
    values = encode_views(encoder, Pictures(), batch_size=4)
    assert values.shape == (3, 2, 1, 3)
    assert torch.allclose(values[:, :, 0, 0], torch.tensor([[0.0, 0.1], [1.0, 1.1], [2.0, 2.1]]))
    assert (encoder.calls, encoder.largest) == (2, 4)


def test_an_embedding_that_is_not_finite_is_named_and_not_kept(tmp_path):
    def spoilt(pictures):
        features = pictures.mean((2, 3))[:, None, :]
        features[-1] = float("nan")  # the last view of the last picture of a call
        return features

    with pytest.raises(DataError, match=r"1 picture\(s\) is not finite: number 1; look"):
        EmbeddingCache(tmp_path).get_or_build(INGREDIENTS, build_with(spoilt))
    assert not list(tmp_path.glob("*.safetensors"))


def test_second_run_calls_no_encoder(tmp_path):
    encoder = Encoder()
    first = EmbeddingCache(tmp_path).get_or_build(INGREDIENTS, build_with(encoder))
    calls = encoder.calls
    again = EmbeddingCache(tmp_path).get_or_build(dict(INGREDIENTS), build_with(encoder))
    assert encoder.calls == calls == 2
    assert torch.equal(first, again)
    assert not list(tmp_path.glob("*.part"))


def test_other_ingredients_are_another_entry(tmp_path):
    encoder = Encoder()
    for ingredients in (INGREDIENTS, INGREDIENTS | {"size": 32}, INGREDIENTS | {"more": 1}):
        EmbeddingCache(tmp_path).get_or_build(ingredients, build_with(encoder))
    assert encoder.calls == 6


@pytest.mark.parametrize("library", ["PIL", "torchvision"])
def test_library_versions_are_in_the_key(monkeypatch, library):
    before = cache_key(INGREDIENTS)
    monkeypatch.setattr(getattr(cache_module, library), "__version__", "0.0")
    assert cache_key(INGREDIENTS) != before


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "note"])
def test_broken_entry_is_rebuilt_with_a_warning(tmp_path, damage):
    encoder = Encoder()
    first = EmbeddingCache(tmp_path).get_or_build(INGREDIENTS, build_with(encoder))
    array, note = next(tmp_path.glob("*.safetensors")), next(tmp_path.glob("*.json"))
    content = bytearray(array.read_bytes())
    if damage == "flip":
        content[-1] ^= 1
        array.write_bytes(content)
    elif damage == "truncate":
        array.write_bytes(content[:-8])
    elif damage == "remove":
        array.unlink()
    else:
        note.write_text(json.dumps({"sha256": "x"}))
    with pytest.warns(UserWarning, match="broken"):
        again = EmbeddingCache(tmp_path).get_or_build(INGREDIENTS, build_with(encoder))
    assert encoder.calls == 4 and torch.equal(first, again)


def test_build_that_dies_leaves_nothing(tmp_path):
    def die():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EmbeddingCache(tmp_path).get_or_build(INGREDIENTS, die)
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".lock"]
    encoder = Encoder()
    EmbeddingCache(tmp_path).get_or_build(INGREDIENTS, build_with(encoder))
    assert encoder.calls == 2


@pytest.mark.parametrize(
    ("number", "said"), [(28, "No space left on device"), (30, "it may only be read")]
)
def test_a_cache_that_cannot_be_written_is_named_once_and_done_without(
    tmp_path, monkeypatch, capsys, number, said
):
    def fails(*_):
        raise OSError(number, os.strerror(number))

    encoder, expected = Encoder(), EmbeddingCache(tmp_path / "good")
    expected = expected.get_or_build(INGREDIENTS, build_with(encoder))
    monkeypatch.setattr(caches, "_reasons_told", set())
    monkeypatch.setattr(os, "fsync", fails)
    (tmp_path / "file").write_text("")
    for _ in range(3):
        again = EmbeddingCache(tmp_path / "a").get_or_build(INGREDIENTS, build_with(encoder))
        assert torch.equal(again, expected)
    text = capsys.readouterr().out
    assert text.count("goes on without it") == 1 and f"{tmp_path / 'a'} cannot be" in text
    assert said in text and not list((tmp_path / "a").glob("*.safetensors"))


def test_an_entry_of_a_cache_that_can_only_be_read_is_used(tmp_path, monkeypatch, capsys):
    encoder = Encoder()
    first = EmbeddingCache(tmp_path).get_or_build(INGREDIENTS, build_with(encoder))

    def read_only(_path):
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(embedding_cache, "shared_lock", read_only)
    calls = encoder.calls
    again = EmbeddingCache(tmp_path).get_or_build(INGREDIENTS, build_with(encoder))
    assert torch.equal(first, again) and encoder.calls == calls


def test_a_file_in_the_place_of_the_cache_is_done_without(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(caches, "_reasons_told", set())
    (tmp_path / "file").write_text("")
    EmbeddingCache(tmp_path / "file" / "in").get_or_build(INGREDIENTS, build_with(Encoder()))
    assert "Not a directory" in capsys.readouterr().out


def test_pictures_digest_is_of_contents_in_order(tmp_path):
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (SimpleNamespace(impath=str(tmp_path / n)) for n in "abc")
    assert pictures_digest([a, b]) == pictures_digest([c, b]) != pictures_digest([b, a])
    with pytest.raises(DataError, match="gone"):
        pictures_digest([SimpleNamespace(impath=str(tmp_path / "gone"))])
