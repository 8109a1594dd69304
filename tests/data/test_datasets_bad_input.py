"""Wrong data: one error with what was looked for, what was found, what to do; no file is left."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from dataset_helpers import build, rows
from miniatures import MINIATURES, write_classes, write_lines, write_picture

from loreal_plugin.errors import ConfigError, DataError
from loreal_plugin.files import atomic


def refused(name: str, root: Path | str, *words: str, **settings) -> None:
    """Check that building fails with a DataError of one line with all `words`; no file is left."""
    before = sorted(Path(root).rglob("*")) if root else []
    with pytest.raises(DataError) as caught:
        build(name, root, **settings)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text
    assert (sorted(Path(root).rglob("*")) if root else []) == before


def test_root_that_is_not_set_is_named():
    refused("Caltech101", "", "DATA", "--root", "not set")


def test_root_that_does_not_exist_is_named(tmp_path):
    refused("Caltech101", tmp_path / "nowhere", "DATA", "nowhere")


@pytest.mark.parametrize("name", MINIATURES)
def test_missing_dataset_folder_says_what_is_there(name, tmp_path):
    write_picture(tmp_path / "something_else" / "cat" / "0.jpg")
    refused(name, tmp_path, name, "not found", "something_else/", "docs/DATASETS.md")


@pytest.mark.parametrize("name", MINIATURES)
def test_missing_picture_folder_or_list_is_named(name, tmp_path):
    folder = MINIATURES[name](tmp_path).folder
    entries = [path for path in folder.iterdir() if path.name not in ("labels", "meta")]
    for path in entries:
        path.rename(folder.parent / "away")
        refused(name, tmp_path, str(folder), "not found")
        (folder.parent / "away").rename(path)


@pytest.mark.parametrize(
    "name", [n for n in MINIATURES if n not in ("Caltech101", "DescribableTextures")]
)
def test_truncated_list_names_its_file(name, tmp_path):
    folder = MINIATURES[name](tmp_path).folder
    lists = [
        p
        for p in folder.rglob("*")
        if p.suffix in (".txt", ".mat", ".json") and "README" not in p.name
    ]
    for path in (p for p in lists if p.parent.name != "meta"):
        content = path.read_bytes()
        path.write_bytes(b"\x00\xff broken")
        refused(name, tmp_path, str(path))
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{not json", ("cannot be read", "delete it")),
        ('{"train": [], "test": []}', ("train, val, test", "found train, test")),
        ("[1, 2]", ("found list",)),
        ('{"train": [["a.jpg", "one"]], "val": [], "test": []}', ("[path, label, class name]",)),
        ('{"train": [], "val": [], "test": []}', ("no train pictures",)),
    ],
)
def test_malformed_split_file_is_named(content, words, tmp_path):
    folder = MINIATURES["Food101"](tmp_path).folder
    (folder / "split_zhou_Food101.json").write_text(content)
    refused("Food101", tmp_path, str(folder), *words)


def split_rows(*rows_: tuple[int, str]) -> list[list]:
    """Return split rows that all show one picture."""
    return [["waffles/picture_0000.jpg", label, name] for label, name in rows_]


@pytest.mark.parametrize(
    ("train", "test", "word"),
    [
        ([(0, "a"), (2, "b")], [(0, "a")], "0..1"),
        ([(0, "a"), (0, "b")], [(0, "a")], "'a' and 'b'"),
        ([(0, "a"), (1, "b")], [(2, "c")], "no training picture for class(es) c"),
        ([(0, "a")], [], "no test pictures"),
    ],
)
def test_inconsistent_split_is_refused(train, test, word, tmp_path):
    folder = MINIATURES["Food101"](tmp_path).folder
    split = {"train": split_rows(*train), "val": [], "test": split_rows(*test)}
    (folder / "split_zhou_Food101.json").write_text(json.dumps(split))
    refused("Food101", tmp_path, word)


def test_picture_of_the_split_that_is_gone_is_named(tmp_path):
    folder = MINIATURES["Food101"](tmp_path).folder
    dataset = build("Food101", tmp_path)
    gone = Path(dataset.test[0].impath)
    gone.unlink()
    refused("Food101", tmp_path, str(gone), "1 picture(s)", "split_zhou_Food101.json")
    assert folder.is_dir()


@pytest.mark.parametrize(
    "name", ["OxfordPets", "OxfordFlowers", "StanfordCars", "FGVCAircraft", "UCF101"]
)
def test_picture_of_a_list_that_is_missing_is_named(name, tmp_path):
    folder = MINIATURES[name](tmp_path).folder
    gone = sorted(folder.rglob("*.jpg"))[0]
    gone.unlink()
    refused(name, tmp_path, str(gone))


def test_empty_class_folder_is_named(tmp_path):
    folder = MINIATURES["Caltech101"](tmp_path).folder
    (folder / "101_ObjectCategories" / "anchor").mkdir()
    refused("Caltech101", tmp_path, "anchor", "no picture", "holds: nothing")


def test_class_too_small_to_split_is_named(tmp_path):
    write_classes(tmp_path / "mine", ["cat"], 5)
    write_classes(tmp_path / "mine", ["dog"], 2)
    refused("Folder", tmp_path, "class 'dog' has 2 picture(s)", "at least 4", folder="mine")


def test_unknown_class_folder_of_imagenet_is_named(tmp_path):
    folder = MINIATURES["ImageNet"](tmp_path).folder
    write_picture(folder / "images" / "train" / "n99999999" / "0.JPEG")
    refused("ImageNet", tmp_path, "n99999999", "classnames.txt")


def test_numbered_folder_of_imagenetv2_must_be_there(tmp_path):
    folder = MINIATURES["ImageNetV2"](tmp_path).folder
    (folder / "imagenetv2-matched-frequency-format-val" / "3").rename(folder / "3")
    refused("ImageNetV2", tmp_path, "imagenetv2-matched-frequency-format-val/3")


def test_folder_key_must_be_given_and_exist(tmp_path):
    write_classes(tmp_path / "my_birds", ["robin"], 4)
    refused("Folder", tmp_path, "DATASET.FOLDER is empty", "my_birds/")
    refused("Folder", tmp_path, "'my_bird'", "did you mean 'my_birds'?", folder="my_bird")


def test_folder_without_classes_says_what_is_there(tmp_path):
    write_picture(tmp_path / "mine" / "0.jpg")
    refused("Folder", tmp_path, "folder per class", "holds: 0.jpg", folder="mine")


def test_class_of_test_that_train_lacks_is_named(tmp_path):
    write_classes(tmp_path / "mine" / "train", ["cat", "dog"], 5)
    write_classes(tmp_path / "mine" / "test", ["cat", "wolf"], 5)
    refused("Folder", tmp_path, "'wolf'", "train/ has: cat, dog", folder="mine")


def test_line_of_classnames_without_a_name_is_quoted(tmp_path):
    write_classes(tmp_path / "mine", ["n01"], 5)
    write_lines(tmp_path / "mine" / "classnames.txt", ["n01"])
    refused("Folder", tmp_path, "classnames.txt", "'n01'", folder="mine")


def test_single_class_has_no_new_half(tmp_path):
    write_classes(tmp_path / "mine", ["cat"], 5)
    with pytest.raises(DataError, match="new classes.* no train pictures"):
        build("Folder", tmp_path, folder="mine", subsample="new")


def test_unknown_half_offers_the_nearest(tmp_path):
    MINIATURES["Food101"](tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'base'"):
        build("Food101", tmp_path, subsample="bases")


def test_malformed_few_shot_file_is_named(tmp_path):
    folder = MINIATURES["Food101"](tmp_path).folder
    build("Food101", tmp_path, shots=1)
    path = folder / "split_fewshot" / "shot_1-seed_1.json"
    path.write_text(path.read_text()[:40])
    refused("Food101", tmp_path, str(path), "delete it", shots=1)


def failing(code: int):
    """Return a function that fails like a system call with `code`."""

    def fail(*args, **kwargs):
        raise OSError(code, errno.errorcode[code])

    return fail


def test_read_only_folder_is_no_obstacle(tmp_path, monkeypatch, capsys):
    MINIATURES["Food101"](tmp_path / "one")
    MINIATURES["Food101"](tmp_path / "two")
    normal = build("Food101", tmp_path / "one", shots=2)
    monkeypatch.setattr(atomic, "prepared", failing(errno.EROFS))
    dataset = build("Food101", tmp_path / "two", shots=2)
    assert "read-only" in capsys.readouterr().out
    assert not list(tmp_path.glob("two/food-101/*.json"))
    moved = [
        (path.replace("/two/", "/one/"), label, name) for path, label, name in rows(dataset.train_x)
    ]
    assert moved == rows(normal.train_x)


def test_full_disk_is_reported_and_leaves_nothing(tmp_path, monkeypatch):
    MINIATURES["Food101"](tmp_path)
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    refused("Food101", tmp_path, "split_zhou_Food101.json", "ENOSPC", "make room")
