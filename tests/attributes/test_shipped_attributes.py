"""Every attribute file of the project: complete, honest, found by name, within the budget."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from loreal_plugin.attributes import load_attributes
from loreal_plugin.contract.text import tokenise_attributes
from loreal_plugin.weights import import_clip

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "attributes").glob("*.json"))
N_ATTRIBUTES, N_CONTENT, CONTEXT_LENGTH = 5, 2, 77
CLASSES = {
    "caltech101": 100,
    "oxford_pets": 37,
    "stanford_cars": 196,
    "oxford_flowers": 102,
    "food101": 101,
    "fgvc_aircraft": 100,
    "sun397": 397,
    "dtd": 47,
    "eurosat": 10,
    "ucf101": 101,
    "imagenet": 1000,
    "imagenetv2": 1000,
    "imagenet_sketch": 1000,
    "imagenet_a": 200,
    "imagenet_r": 200,
}
DESCRIBED = {name for name, count in CLASSES.items() if count <= 110}


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=without_repeated_keys)


def without_repeated_keys(pairs: list[tuple]) -> dict:
    keys = [key for key, _ in pairs]
    assert len(set(keys)) == len(keys), [key for key in keys if keys.count(key) > 1]
    return dict(pairs)


def plain(text: str) -> str:
    """Lower case, words separated by one blank and nothing else."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def benchmark(name: str) -> dict:
    return read(ROOT / "attributes" / f"{name}.json")


def test_every_benchmark_has_its_file():
    assert set(CLASSES) | {"demo", "generic"} <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_file_loads_and_gives_a_reason_for_every_attribute(path):
    content, loaded = read(path), load_attributes(path.stem, "")
    assert len(loaded.select(N_ATTRIBUTES)) == N_ATTRIBUTES and len(loaded.words) <= 8
    assert loaded.domain and content["provenance"]
    assert set(content["reasons"]) == set(content["attributes"])
    rejected = content.get("rejected", {})
    assert not {plain(word) for word in rejected} & {plain(word) for word in loaded.words}
    for reason in [*content["reasons"].values(), *rejected.values()]:
        assert reason.strip() and "\n" not in reason


@pytest.mark.parametrize("name", CLASSES)
def test_benchmark_file_says_how_it_was_made_and_what_vanishes(name):
    content = benchmark(name)
    assert content["provenance"] == {"how": "curated", "model": None, "date": "2026-11-22"}
    assert len(content["rejected"]) >= N_ATTRIBUTES
    assert len(content["classnames"]) == CLASSES[name] and content["classnames_source"]
    assert all(1 <= len(word.split()) <= 2 for word in content["attributes"])


@pytest.mark.parametrize("name", CLASSES)
def test_no_attribute_names_a_class(name):
    content = benchmark(name)
    for word in content["attributes"]:
        named = [c for c in content["classnames"] if f" {plain(c)} " in f" {plain(word)} "]
        assert named == [], f"attribute '{word}' names a class"


@pytest.mark.parametrize("name", CLASSES)
def test_descriptions_cover_exactly_the_classes_each_in_its_own_words(name):
    content = benchmark(name)
    assert ("descriptions" in content) == (name in DESCRIBED)
    if name in DESCRIBED:
        texts = list(content["descriptions"].values())
        assert list(content["descriptions"]) == content["classnames"]
        assert len({plain(text) for text in texts}) == len(texts)
        for text in texts:
            assert text.endswith(".") and 6 <= len(text.split()) <= 40, text


@pytest.mark.parametrize("name", CLASSES)
def test_every_prompt_fits_into_the_text_encoder(name):
    encode = import_clip().clip._tokenizer.encode
    content, words = benchmark(name), load_attributes(name, "").select(N_ATTRIBUTES)
    slots = sum(N_CONTENT + len(ids) for ids in tokenise_attributes(words, encode, name))
    longest = max(len(encode(c.replace("_", " "))) for c in content["classnames"])
    for context in (
        len(encode("a photo of a")),
        16,
    ):  # the hand-written context, and CoOp's longest
        # start, context, name, "with", slots, ".", end
        assert 1 + context + longest + 1 + slots + 1 + 1 <= CONTEXT_LENGTH


def test_prompt_length_is_that_of_the_written_prompt():
    clip = import_clip()
    words = load_attributes("oxford_pets", "").select(N_ATTRIBUTES)
    prompt = "a photo of a pug with " + " ".join(f"X X {word}" for word in words) + "."
    slots = sum(N_CONTENT + len(clip.clip._tokenizer.encode(word)) for word in words)
    assert int((clip.tokenize(prompt) != 0).sum()) == 1 + 4 + 1 + 1 + slots + 1 + 1


@pytest.mark.parametrize("name", [*CLASSES, "demo", "demo-heldout"])
def test_registered_name_finds_the_file(name):
    config = yaml.safe_load((ROOT / "configs" / "datasets" / f"{name}.yaml").read_text())
    found = load_attributes("", config["DATASET"]["NAME"])
    assert found.source.stem == name.removesuffix("-heldout") and not found.fallback


def test_own_pictures_get_the_generic_words():
    found = load_attributes("", "Folder")
    assert found.fallback and found.words == load_attributes("generic", "").words
