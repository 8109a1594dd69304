"""Datasets that are odd and allowed, or odd and refused: what is said, and where."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers import random_clip_file
from PIL import Image

from loreal_plugin.results.record import read_results
from loreal_plugin.runs.check_values import doubtful_classes

ALONE = "Half 'new' has one class ('ferry'): any model is right about it"
TWELVE = (
    *("color", "shape", "size", "pattern", "material", "weight"),
    *("edge", "light", "place", "age", "use", "sound"),
)
LETTERS = " ".join("abcdefghijklmnopqrstuvwxyz" * 3)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("odd")
    random_clip_file(root)
    (root / "twelve.json").write_text(json.dumps({"schema_version": 1, "attributes": TWELVE}))
    return root


def write(folder: Path, classes: Sequence[str], size: int = 20) -> None:
    """Write four pictures of each class."""
    for number in range(4 * len(classes)):
        path = folder / classes[number // 4] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (size, size), (number * 9, 30, 77)).save(path)


@pytest.fixture
def run(home: Path, tmp_path: Path, command_line: Any) -> Callable[..., tuple[int, str, str]]:
    """Give a function that runs `base2new coop 32` on a dataset of these classes."""
    env = {"DATA": home / "data", "CLIP_WEIGHTS": home / "tiny_clip.pt", "SHOTS": 2}
    call = command_line(env | {"RECIPE": "demo", "LOREAL_CACHE": home / "cache", "OUT": tmp_path})

    def on(name: str, classes: Sequence[str], until: str, *options: str, size: int = 20) -> Any:
        write(home / "data" / name, classes, size)
        words = ["base2new", "coop", "32", name, "--until", until, "--"]
        return call(*words, "OPTIM.MAX_EPOCH", "1", "TRAINER.LOREAL.INFERENCE", "exact", *options)

    return on


@pytest.mark.parametrize("words", [1, 12])
def test_one_class_in_a_half_pictures_of_one_pixel_and_one_or_twelve_words(
    home: Path, tmp_path: Path, run: Any, words: int
) -> None:
    own = ("TRAINER.LOREAL.ATTRIBUTES", str(home / "twelve.json"))
    given = ("TRAINER.LOREAL.N_ATTRIBUTES", str(words), *own)
    code, out, _ = run("points", ["cat", "dog", "ferry"], "loreal", *given, size=1)
    assert code == 0 and ALONE in out.split("+ LOREAL")[-1], "beside the table"
    (record,) = [
        r for p in tmp_path.rglob("results.json") if "rows" in (r := read_results(p.parent))
    ]
    # K (D_s (D_v + D_t) + D_s + D_t) numbers, all widths of the toy 64 and D_s 32
    assert record["rows"][-1]["parameters"] == words * (32 * 128 + 32 + 64)
    assert record["notes"][0].startswith(ALONE)


def test_classes_that_differ_in_case_only_are_said_beside_the_table(run: Any) -> None:
    code, out, _ = run("case", ["Cat", "cat", "dog", "ferry"], "alpha")
    assert code == 0
    head, table = out.split("accuracy in %")
    for part in (head, table):
        assert "lass name(s) of 'case' come twice in prompts" in part and ": cat; no model" in part
    assert doubtful_classes("base", "d", ["a_b", "A b", "c"])[0].startswith("1 class name(s)")
    assert doubtful_classes("new", "d", ["a b", "a c"]) == []


def test_a_name_longer_than_the_context_is_refused_before_anything_is_trained(
    tmp_path: Path, run: Any
) -> None:
    code, _, said = run("long", ["cat", "dog", "ferry", LETTERS], "loreal")
    assert code == 2 and "takes 101 tokens, the text encoder reads 77" in said
    assert "a shorter class name" in said and not list(tmp_path.iterdir())


def test_a_name_that_is_an_emoji_is_refused_before_anything_is_trained(
    tmp_path: Path, run: Any
) -> None:
    code, _, said = run("emoji", ["cat", "dog", "ferry", "🐱"], "loreal")
    assert code == 2 and "class name '🐱' has other tokens in its prompt" in said
    assert said.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_name_that_would_steer_a_terminal_is_refused_before_anything_is_trained(
    tmp_path: Path, run: Any
) -> None:
    code, _, said = run("steer", ["cat", "dog", "ferry", "x\x1b]0;owned\x07"], "loreal")
    assert code == 2 and r"class name 'x\x1b]0;owned\x07' has a control character" in said
    assert said.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_new_half_without_test_pictures_is_named(home: Path, tmp_path: Path, run: Any) -> None:
    for part, classes in (("train", "abcd"), ("val", "abcd"), ("test", "ab")):
        write(home / "data" / "parts" / part, list(classes))
    code, _, said = run("parts", [], "loreal")
    assert code == 2 and "new classes) has no test pictures; add some" in said
    assert not list(tmp_path.iterdir())
