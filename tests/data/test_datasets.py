"""Every public dataset, read from a miniature in the exact layout of its publisher."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path

import pytest
from dataset_helpers import build, rows
from miniatures import MINIATURES, VARIANTS

DRAWN = [n for n in MINIATURES if n not in (*VARIANTS, "ImageNet", "FGVCAircraft")]
WITH_SHOTS = [n for n in MINIATURES if n not in VARIANTS]


def per_class(items) -> list[int]:
    """Return the number of pictures of every label, in order."""
    counts = Counter(item.label for item in items)
    return [counts[label] for label in sorted(counts)]


@pytest.mark.parametrize("name", MINIATURES)
def test_dataset_finds_the_classes_and_parts_of_its_layout(name, tmp_path):
    expected = MINIATURES[name](tmp_path)
    dataset = build(name, tmp_path)
    n_classes = len(expected.classnames)
    assert list(dataset.classnames) == list(expected.classnames)
    assert dataset.num_classes == n_classes
    parts = (dataset.train_x, dataset.val or [], dataset.test)
    for items, size in zip(parts, expected.sizes, strict=True):
        assert per_class(items) == ([size] * n_classes if size else [])
        assert all(dataset.lab2cname[item.label] == item.classname for item in items)
        assert all(Path(item.impath).is_file() for item in items)


@pytest.mark.parametrize("name", [n for n in MINIATURES if n not in (*VARIANTS, "ImageNet")])
def test_parts_share_no_picture_and_leave_none_out(name, tmp_path):
    expected = MINIATURES[name](tmp_path)
    dataset = build(name, tmp_path)
    paths = [item.impath for part in (dataset.train_x, dataset.val, dataset.test) for item in part]
    assert len(set(paths)) == len(paths) == sum(expected.sizes) * len(expected.classnames)


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_split_is_saved_once_and_read_back(name, tmp_path, capsys):
    folder = MINIATURES[name](tmp_path).folder
    first = build(name, tmp_path, seed=1)
    split_file = next(folder.glob("split_zhou_*.json"))
    assert split_file.name == f"split_zhou_{name}.json"
    written = split_file.read_bytes()
    again = build(name, tmp_path, seed=2)
    assert f"Split read from {split_file}" in capsys.readouterr().out
    assert split_file.read_bytes() == written
    for part in ("train_x", "val", "test"):
        assert rows(getattr(again, part)) == rows(getattr(first, part))
    assert [path.name for path in folder.glob(".*tmp")] == []


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_split_depends_on_the_pictures_only(name, tmp_path):
    splits = []
    for place, seed in (("one", 1), ("two", 7)):
        folder = MINIATURES[name](tmp_path / place).folder
        random.seed(seed)
        build(name, tmp_path / place, seed=seed)
        splits.append(next(folder.glob("split_zhou_*.json")).read_bytes())
    assert splits[0] == splits[1]


def test_given_split_file_is_obeyed(tmp_path):
    folder = MINIATURES["Caltech101"](tmp_path).folder
    split = {
        "train": [
            ["Faces/picture_0003.jpg", 0, "face"],
            ["yin_yang/picture_0000.jpg", 1, "yin_yang"],
        ],
        "val": [["Faces/picture_0001.jpg", 0, "face"]],
        "test": [["yin_yang/picture_0005.jpg", 1, "yin_yang"]],
    }
    (folder / "split_zhou_Caltech101.json").write_text(json.dumps(split))
    dataset = build("Caltech101", tmp_path)
    images = folder / "101_ObjectCategories"
    expected = [(str(images / path), label, name) for path, label, name in split["train"]]
    assert rows(dataset.train_x) == expected
    assert [Path(item.impath).name for item in (*dataset.val, *dataset.test)] == [
        "picture_0001.jpg",
        "picture_0005.jpg",
    ]


@pytest.mark.parametrize("name", WITH_SHOTS)
@pytest.mark.parametrize("subsample", ["base", "new"])
def test_halves_are_cut_as_the_family_cuts_them(name, subsample, tmp_path):
    MINIATURES[name](tmp_path)
    whole = build(name, tmp_path)
    half = build(name, tmp_path, subsample=subsample)
    labels = sorted({item.label for item in whole.train_x})
    middle = math.ceil(len(labels) / 2)
    chosen = labels[:middle] if subsample == "base" else labels[middle:]
    assert list(half.classnames) == [whole.lab2cname[label] for label in chosen]
    for part in ("train_x", "val", "test"):
        expected = [
            (item.impath, chosen.index(item.label), item.classname)
            for item in getattr(whole, part)
            if item.label in chosen
        ]
        assert rows(getattr(half, part)) == expected


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_ignore_shots_and_halves(name, tmp_path):
    folder = MINIATURES[name](tmp_path).folder
    whole = build(name, tmp_path)
    cut = build(name, tmp_path, shots=1, subsample="new")
    assert rows(cut.test) == rows(whole.test) == rows(whole.train_x)
    assert not cut.val
    assert not (folder / "split_fewshot").exists()


def family_shots(items, shots: int) -> list[tuple[str, int, str]]:
    """The obvious version: sample from the global random state, class by class."""
    groups: dict[int, list] = {}
    for item in items:
        groups.setdefault(item.label, []).append(item)
    return rows(
        [item for group in groups.values() for item in random.sample(group, min(shots, len(group)))]
    )


@pytest.mark.parametrize("name", WITH_SHOTS)
def test_shots_are_those_the_family_draws_with_that_seed(name, tmp_path):
    MINIATURES[name](tmp_path)
    whole = build(name, tmp_path)
    drawn = build(name, tmp_path, shots=2, seed=3)
    random.seed(3)
    assert rows(drawn.train_x) == family_shots(whole.train_x, 2)
    if name == "ImageNet":
        assert rows(drawn.val) == rows(drawn.test) == rows(whole.test)
    else:
        assert rows(drawn.val) == family_shots(whole.val, 2)
    assert rows(drawn.test) == rows(whole.test)


def test_val_gets_at_most_four_shots(tmp_path):
    MINIATURES["EuroSAT"](tmp_path)
    whole = build("EuroSAT", tmp_path)
    assert per_class(whole.val) == [4, 4, 4, 4]
    drawn = build("EuroSAT", tmp_path, shots=8)
    assert per_class(drawn.train_x) == [8, 8, 8, 8]
    assert per_class(drawn.val) == [4, 4, 4, 4]


def test_few_shot_file_is_saved_and_reused(tmp_path, capsys):
    folder = MINIATURES["Food101"](tmp_path).folder
    first = build("Food101", tmp_path, shots=2, seed=5)
    path = folder / "split_fewshot" / "shot_2-seed_5.json"
    content = json.loads(path.read_text())
    assert content["train"][0][0].startswith("apple_pie/picture_")
    build("Food101", tmp_path, shots=2, seed=5, subsample="base")
    assert f"Few-shot subset read from {path}" in capsys.readouterr().out
    assert rows(build("Food101", tmp_path, shots=2, seed=5).train_x) == rows(first.train_x)


def test_seeds_and_shots_have_their_own_subsets(tmp_path):
    folder = MINIATURES["Food101"](tmp_path).folder
    subsets = [
        rows(build("Food101", tmp_path, shots=k, seed=s).train_x)
        for k, s in ((3, 1), (3, 2), (1, 1))
    ]
    assert subsets[0] != subsets[1]
    assert [len(subset) for subset in subsets] == [9, 9, 3]
    names = sorted(path.name for path in (folder / "split_fewshot").iterdir())
    assert names == ["shot_1-seed_1.json", "shot_3-seed_1.json", "shot_3-seed_2.json"]


def test_subset_of_an_old_split_is_drawn_again(tmp_path, capsys):
    folder = MINIATURES["Food101"](tmp_path).folder
    build("Food101", tmp_path, shots=2)
    split_file = folder / "split_zhou_Food101.json"
    split = json.loads(split_file.read_text())
    split["train"], split["test"] = split["test"], split["train"]
    split_file.write_text(json.dumps(split))
    dataset = build("Food101", tmp_path, shots=2)
    assert "belongs to another split" in capsys.readouterr().out
    assert not {item.impath for item in dataset.train_x} & {item.impath for item in dataset.test}


def test_negative_seed_keeps_no_subset(tmp_path):
    folder = MINIATURES["Food101"](tmp_path).folder
    dataset = build("Food101", tmp_path, shots=2, seed=-1)
    assert per_class(dataset.train_x) == [2, 2, 2]
    assert not (folder / "split_fewshot").exists()


def test_pickles_of_the_family_are_not_read(tmp_path):
    folder = MINIATURES["Food101"](tmp_path).folder
    (folder / "split_fewshot").mkdir()
    (folder / "split_fewshot" / "shot_2-seed_1.pkl").write_bytes(b"never opened")
    assert per_class(build("Food101", tmp_path, shots=2).train_x) == [2, 2, 2]


def test_class_with_fewer_pictures_than_shots_gives_all_and_says_so(tmp_path, capsys):
    MINIATURES["Food101"](tmp_path)
    dataset = build("Food101", tmp_path, shots=16)
    assert per_class(dataset.train_x) == [5, 5, 5]
    assert "Fewer than 16 pictures, all are taken: 'apple_pie' 5" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["Caltech101", "OxfordPets", "ImageNet"])
def test_loading_does_not_move_the_global_random_state(name, tmp_path):
    MINIATURES[name](tmp_path)
    state = random.getstate()
    build(name, tmp_path, shots=2)
    assert random.getstate() == state
