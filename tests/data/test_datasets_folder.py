"""Own pictures in a folder per class, the demonstration world, and meanings of dataset names."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from dataset_helpers import build, dataset_cfg, rows, use_embedded_host
from helpers import tiny_image_folder
from miniatures import MINIATURES, write_classes, write_lines, write_picture
from yacs.config import CfgNode

from loreal_plugin.data import SPLIT_SEED, add_data_keys, dataset_config, register_plugin_datasets
from loreal_plugin.data.demo import DEMO_TARGETS
from loreal_plugin.data.items import ClassPictures
from loreal_plugin.data.splits import draw_split
from loreal_plugin.errors import DataError, HostError

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "datasets"


def folder(root: Path, **settings):
    """Build the dataset `<root>/mine`."""
    return build("Folder", root, folder="mine", **settings)


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(4, (2, 1, 1)), (5, (2, 1, 2)), (7, (4, 1, 2)), (10, (5, 2, 3)), (31, (16, 6, 9))],
)
def test_split_is_half_a_fifth_and_the_rest(count, sizes):
    split = draw_split([ClassPictures(0, "cat", [f"{n}.jpg" for n in range(count)])])
    assert tuple(map(len, split)) == sizes
    assert len({item.path for part in split for item in part}) == count


def test_folder_per_class_is_split_once(tmp_path):
    tiny_image_folder(tmp_path / "mine", classes=3, per_class=10, size=8)
    dataset = folder(tmp_path)
    assert list(dataset.classnames) == ["airplane", "brain", "camera"]
    assert [len(part) for part in (dataset.train_x, dataset.val, dataset.test)] == [15, 6, 9]
    split = json.loads((tmp_path / "mine" / "split_loreal.json").read_text())
    assert [len(split[part]) for part in ("train", "val", "test")] == [15, 6, 9]
    assert rows(folder(tmp_path, seed=9).test) == rows(dataset.test)


def test_our_own_files_are_no_classes(tmp_path):
    tiny_image_folder(tmp_path / "mine", classes=3, per_class=10, size=8)
    folder(tmp_path, shots=2)
    (tmp_path / "mine" / "split_loreal.json").unlink()
    assert (tmp_path / "mine" / "split_fewshot").is_dir()
    assert list(folder(tmp_path, shots=2).classnames) == ["airplane", "brain", "camera"]


def test_picture_kinds_are_told_from_other_files(tmp_path):
    for index, ending in enumerate((".jpg", ".JPG", ".jpeg", ".png")):
        write_picture(tmp_path / "mine" / "cat" / f"{index}{ending}", shade=index)
    write_lines(tmp_path / "mine" / "cat" / "notes.txt", ["not a picture"])
    write_picture(tmp_path / "mine" / "cat" / "._0.jpg")
    dataset = folder(tmp_path)
    assert len(dataset.train_x) + len(dataset.val) + len(dataset.test) == 4


def test_names_that_are_no_utf8_are_named(tmp_path):
    tiny_image_folder(tmp_path / "mine", classes=2, per_class=4, size=8)
    first = min((tmp_path / "mine").rglob("*.png"))
    first.rename(first.with_name(os.fsdecode(b"caf\xe9.png")))
    with pytest.raises(DataError, match=r"1 picture\(s\) .* not UTF-8, first '.*caf\\udce9.png'"):
        folder(tmp_path)


def test_class_folder_may_be_a_link(tmp_path):
    write_classes(tmp_path / "elsewhere", ["cat", "dog"], 4)
    (tmp_path / "mine").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "mine" / name).symlink_to(
            tmp_path / "elsewhere" / name, target_is_directory=True
        )
    assert list(folder(tmp_path).classnames) == ["cat", "dog"]


def test_classnames_file_renames_classes(tmp_path):
    write_classes(tmp_path / "mine", ["n01", "n02"], 4)
    write_lines(tmp_path / "mine" / "classnames.txt", ["n02 great white shark", "n01 tench"])
    assert list(folder(tmp_path).classnames) == ["tench", "great white shark"]


def test_given_parts_are_kept(tmp_path):
    for part, count in (("train", 5), ("val", 2), ("test", 3)):
        write_classes(tmp_path / "mine" / part, ["cat", "dog"], count)
    dataset = folder(tmp_path)
    for part, items in (("train", dataset.train_x), ("val", dataset.val), ("test", dataset.test)):
        assert {Path(item.impath).parts[-3] for item in items} == {part}
    assert Counter(item.classname for item in dataset.test) == {"cat": 3, "dog": 3}
    assert not (tmp_path / "mine" / "split_loreal.json").exists()


def test_missing_val_part_is_held_out_from_train(tmp_path):
    write_classes(tmp_path / "mine" / "train", ["cat", "dog"], 10)
    write_classes(tmp_path / "mine" / "test", ["dog"], 3)
    dataset = folder(tmp_path)
    assert [len(part) for part in (dataset.train_x, dataset.val, dataset.test)] == [16, 4, 3]
    assert {item.label for item in dataset.test} == {1}
    assert rows(folder(tmp_path).val) == rows(dataset.val)


def test_classes_called_train_and_test_are_classes(tmp_path):
    write_classes(tmp_path / "mine", ["train", "test", "bus"], 4)
    assert list(folder(tmp_path).classnames) == ["bus", "test", "train"]


def test_new_pictures_beside_a_saved_split_are_reported(tmp_path, capsys):
    write_classes(tmp_path / "mine", ["cat", "dog"], 4)
    before = rows(folder(tmp_path).train_x)
    write_picture(tmp_path / "mine" / "cat" / "late.jpg")
    assert rows(folder(tmp_path).train_x) == before
    assert "1 picture(s) are not in" in capsys.readouterr().out


def test_dataset_name_is_a_config_or_else_a_folder(tmp_path):
    write_classes(tmp_path / "my_birds", ["robin", "wren"], 4)
    write_classes(tmp_path / "caltech101", ["robin", "wren"], 4)
    assert dataset_config("my_birds", str(tmp_path)) == (
        CONFIGS / "folder.yaml",
        ["DATASET.FOLDER", "my_birds"],
    )
    assert dataset_config("caltech101", str(tmp_path)) == (CONFIGS / "caltech101.yaml", [])
    assert dataset_config("demo") == (CONFIGS / "demo.yaml", [])


def test_unknown_dataset_name_offers_the_nearest(tmp_path):
    with pytest.raises(DataError, match="unknown dataset 'caltech-101'; did you mean 'caltech101'"):
        dataset_config("caltech-101")
    (tmp_path / "birds").mkdir()
    with pytest.raises(DataError, match=r"holds: birds/"):
        dataset_config("bids", str(tmp_path))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_dataset_config_names_a_registered_dataset(path):
    use_embedded_host()
    import datasets  # noqa: F401  (registers)
    from dassl.data.datasets import DATASET_REGISTRY

    cfg = CfgNode.load_cfg(path.read_text())
    assert set(cfg) == {"DATASET"} and set(cfg.DATASET) == {"NAME"}
    assert cfg.DATASET.NAME in DATASET_REGISTRY.registered_names()


def test_there_is_a_config_for_every_dataset():
    named = {CfgNode.load_cfg(path.read_text()).DATASET.NAME for path in CONFIGS.glob("*.yaml")}
    assert named == {*MINIATURES, "Folder", "Demo", "DemoHeldout", *DEMO_TARGETS}


class Registry:
    """The part of Dassl's registry that registration uses."""

    def __init__(self, **taken: type) -> None:
        self.classes = dict(taken)

    def registered_names(self) -> list[str]:
        return list(self.classes)

    def get(self, name: str) -> type:
        return self.classes[name]

    def register(self, cls: type) -> None:
        assert cls.__name__ not in self.classes
        self.classes[cls.__name__] = cls


class PlainBase:
    """A stranger's `DatasetBase`."""

    def __init__(self, train_x=None, train_u=None, val=None, test=None) -> None:
        self.train_x, self.val, self.test = train_x, val, test


class PlainDatum:
    """A stranger's `Datum`."""

    def __init__(self, impath="", label=0, domain=0, classname="") -> None:
        self.impath, self.label, self.classname = impath, label, classname


def test_plugin_datasets_work_on_any_host(tmp_path):
    tiny_image_folder(tmp_path / "mine", classes=4, per_class=10, size=8)
    registry = Registry()
    assert register_plugin_datasets(registry, PlainBase, PlainDatum) == [
        "Folder",
        "Demo",
        "DemoHeldout",
        *DEMO_TARGETS,
    ]
    assert register_plugin_datasets(registry, PlainBase, PlainDatum) == []
    dataset = registry.get("Folder")(dataset_cfg(tmp_path, shots=1, subsample="new", folder="mine"))
    assert isinstance(dataset, PlainBase)
    assert all(isinstance(item, PlainDatum) for item in dataset.train_x)
    assert [(item.label, item.classname) for item in dataset.train_x] == [
        (0, "camera"),
        (1, "dalmatian"),
    ]


def test_a_taken_name_is_refused_before_anything_is_registered():
    registry = Registry(Demo=PlainBase)
    with pytest.raises(HostError, match="own dataset Demo"):
        register_plugin_datasets(registry, PlainBase, PlainDatum)
    assert registry.registered_names() == ["Demo"]


def test_data_keys_are_added_once():
    cfg = CfgNode({"DATASET": {"ROOT": ""}})
    add_data_keys(cfg)
    cfg.DATASET.FOLDER = "mine"
    add_data_keys(cfg)
    assert cfg.DATASET.FOLDER == "mine"


def test_demo_reads_pictures_where_they_are(tmp_path, monkeypatch):
    from loreal_plugin.demo import pictures, world

    drawn_for = []
    monkeypatch.setattr(pictures, "ensure_pictures", lambda root: drawn_for.append(root))
    monkeypatch.setattr(
        world, "POOLS", {p: world.Pool(n, 4, (0.9, 1.1)) for n, p in enumerate(world.POOLS, 1)}
    )
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"
    for place in (tmp_path / "cache", data):
        for rows_ in pictures.list_items(place).values():
            for path, label, _ in rows_:
                write_picture(Path(path), shade=label)
    for root in ("", str(tmp_path), str(data)):
        dataset = build("Demo", root, shots=2, subsample="base")
        assert list(dataset.classnames) == list(world.NAMES[: world.NUM_BASE])
        assert [len(p) for p in (dataset.train_x, dataset.val, dataset.test)] == [40, 40, 80]
    assert drawn_for == [tmp_path / "cache", tmp_path / "cache", data]
    held_out = build("DemoHeldout", str(data), shots=2, subsample="new")
    half = world.NUM_BASE // 2
    assert list(held_out.classnames) == list(world.NAMES[half : world.NUM_BASE])
    assert all("/images/val/" in item.impath for item in held_out.test)
    assert len(held_out.test) == 4 * (world.NUM_BASE - half)


def test_split_seed_is_fixed():
    classes = [ClassPictures(0, "cat", [f"{n}.jpg" for n in range(10)])]
    assert draw_split(classes) == draw_split(classes, seed=SPLIT_SEED)
    assert draw_split(classes) != draw_split(classes, seed=SPLIT_SEED + 1)
