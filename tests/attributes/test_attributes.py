"""Attribute files: shipped ones load, broken ones say what is wrong with them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from loreal_plugin.attributes import (
    attribute_set,
    available_attributes,
    load_attributes,
)
from loreal_plugin.errors import AttributeFileError

GOOD = {
    "schema_version": 1,
    "dataset": "x",
    "domain": "cars",
    "attributes": ["coat color", "shape", "size"],
}


def write(path, content) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A bundle with a generic file and one for the dataset 'own'."""
    folder = tmp_path / "attributes"
    folder.mkdir()
    write(folder / "generic.json", GOOD | {"attributes": ["color", "shape"]})
    write(folder / "own.json", GOOD | {"attributes": ["fur", "ears"]})
    monkeypatch.setattr(attribute_set, "bundle_root", lambda: tmp_path)
    return folder


def test_path_name_dataset_and_fallback(shipped, tmp_path):
    path = write(tmp_path / "mine.json", GOOD)
    mine = load_attributes(path, "own")
    assert mine.words == ("coat color", "shape", "size") and mine.domain == "cars"
    assert mine.sha256 == hashlib.sha256((tmp_path / "mine.json").read_bytes()).hexdigest()
    assert load_attributes("", "Own").words == ("fur", "ears")
    assert load_attributes("own", "other").words == ("fur", "ears")
    generic = load_attributes("", "Unheard")
    assert generic.words == ("color", "shape") and generic.fallback and not mine.fallback
    assert available_attributes() == ["generic", "own"]


def test_dataset_field_finds_the_file_by_registered_name(shipped):
    names = ["DescribableTextures", "DTD-small"]
    write(shipped / "dtd.json", GOOD | {"dataset": names, "attributes": ["rhythm"]})
    write(shipped / "oxford_pets.json", GOOD | {"dataset": "OxfordPets", "attributes": ["coat"]})
    for name in ("DescribableTextures", "dtd_small", "dtd"):
        assert load_attributes("", name).words == ("rhythm",)
    for name in ("OxfordPets", "oxford_pets", "OxfordPetsHeldout"):
        assert load_attributes("", name).words == ("coat",)
    assert load_attributes("", "Pets").fallback
    assert load_attributes("", "generic").fallback


def test_two_files_for_one_dataset_are_refused(shipped):
    write(shipped / "other.json", GOOD | {"dataset": "own"})
    with pytest.raises(AttributeFileError, match=r"several attribute files .*other.json, own.json"):
        load_attributes("", "Own")
    assert load_attributes("own", "Own").words == ("fur", "ears")


def test_broken_file_in_the_folder_is_named(shipped):
    write(shipped / "bad.json", "{")
    with pytest.raises(AttributeFileError, match="bad.json cannot be read"):
        load_attributes("", "Own")


def test_first_k_and_shuffle(shipped, tmp_path):
    attributes = load_attributes(write(tmp_path / "a.json", GOOD), "")
    assert attributes.select(2) == ["coat color", "shape"]
    orders = {tuple(attributes.select(3, seed)) for seed in range(12)}
    assert len(orders) > 1 and all(sorted(o) == sorted(attributes.words) for o in orders)
    assert attributes.select(3, 4) == attributes.select(3, 4)
    with pytest.raises(AttributeFileError, match="has 3 attributes .* asks for 4"):
        attributes.select(4)


def test_per_class_words(shipped, tmp_path):
    content = GOOD | {"per_class": {"red_car": ["roof", "door"], "Bus": ["deck", "sign"]}}
    attributes = load_attributes(write(tmp_path / "a.json", content), "")
    assert attributes.select_per_class(["bus", "red car"], 1) == [["deck"], ["roof"]]
    with pytest.raises(AttributeFileError, match="'tram'"):
        attributes.select_per_class(["tram"], 1)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{not json", "cannot be read"),
        ("[1, 2]", "wanted a JSON object"),
        (GOOD | {"schema_version": 2}, "schema_version"),
        (GOOD | {"attributes": []}, "empty"),
        (GOOD | {"attributes": "color"}, "no list"),
        (GOOD | {"attributes": ["color", "  "]}, "no word"),
        (GOOD | {"attributes": ["color", 3]}, "no word"),
        (GOOD | {"attributes": ["Color", "shape", "color"]}, "repeats color"),
        (GOOD | {"per_class": ["a"]}, "per_class"),
    ],
)
def test_broken_files_are_refused(shipped, tmp_path, content, part):
    with pytest.raises(AttributeFileError, match=part):
        load_attributes(write(tmp_path / "bad.json", content), "x")


def test_absent_file_and_unknown_name(shipped, tmp_path):
    with pytest.raises(AttributeFileError, match="does not exist"):
        load_attributes(str(tmp_path / "none.json"), "x")
    with pytest.raises(AttributeFileError, match="did you mean 'generic'"):
        load_attributes("generik", "x")


def test_generic_file_of_the_project_has_five_words():
    attributes = load_attributes(
        str(Path(__file__).resolve().parents[2] / "attributes" / "generic.json"), ""
    )
    assert len(attributes.select(5)) == 5
