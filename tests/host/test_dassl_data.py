"""Data sets, samplers, transforms and loaders of the embedded host's dassl."""

from __future__ import annotations

import pickle
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.transforms as T
from dassl.data import (
    DataManager,
    DatasetWrapper,
)  # isort: skip  (dassl_toys puts the host on the path)
from dassl_toys import ToyPictures, toy_cfg
from helpers import tiny_image_folder
from PIL import Image

from dassl.data.datasets import DatasetBase, Datum, build_dataset  # isort: skip
from dassl.data.samplers import build_sampler  # isort: skip
from dassl.data.transforms import CHOICES, build_transform  # isort: skip
from dassl.utils import set_random_seed  # isort: skip

from loreal_plugin.errors import ConfigError, DataError


class _Item:
    """Stands in for a Datum without a file."""

    def __init__(self, label: int, domain: int = 0) -> None:
        self.label, self.domain, self.classname = label, domain, f"class {label}"


def _items(counts: dict[int, int]) -> list[Any]:
    return [_Item(label, index % 2) for label, count in counts.items() for index in range(count)]


def _shots(items: list[Any], seed: int, **options: Any) -> list[Any]:
    random.seed(seed)
    return ToyPictures.generate_fewshot_dataset(DatasetBase.__new__(DatasetBase), items, **options)


def test_few_shots_depend_on_the_seed_alone() -> None:
    items = _items({2: 9, 0: 9, 1: 3})
    first = _shots(items, 1, num_shots=4)
    assert first == _shots(items, 1, num_shots=4) and first != _shots(items, 2, num_shots=4)
    assert (
        Counter(item.label for item in first) == {2: 4, 0: 4, 1: 3}
        and len(set(map(id, first))) == 11
    )
    random.seed(1)  # the family's draw, class by class in order of appearance
    assert first == random.sample(items[:9], 4) + random.sample(items[9:18], 4) + items[18:]
    repeated = _shots(items, 1, num_shots=4, repeat=True)
    assert Counter(item.label for item in repeated) == {2: 4, 0: 4, 1: 4}


def test_no_shots_means_all_and_several_lists_stay_several() -> None:
    items = _items({0: 3})
    assert _shots(items, 1, num_shots=0) is items
    base = DatasetBase.__new__(DatasetBase)
    assert base.generate_fewshot_dataset(items, items) == (items, items)
    assert [len(part) for part in base.generate_fewshot_dataset(items, items, num_shots=2)] == [
        2,
        2,
    ]


def test_classes_come_from_the_training_list() -> None:
    data = DatasetBase(train_x=_items({1: 2, 0: 1}), test=_items({0: 1}))
    assert data.num_classes == 2 and data.lab2cname == {0: "class 0", 1: "class 1"}
    assert data.classnames == ["class 0", "class 1"] and data.val is None
    assert {k: len(v) for k, v in data.split_dataset_by_domain(data.train_x).items()} == {
        0: 2,
        1: 1,
    }
    with pytest.raises(DataError, match="the training list is empty"):
        DatasetBase(train_x=[])


def test_datum_names_a_missing_picture_and_survives_pickling(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"picture '.*gone\.png' of class 'owl' is missing"):
        Datum(str(tmp_path / "gone.png"), classname="owl")
    path = tmp_path / "p.png"
    Image.new("RGB", (4, 4)).save(path)
    again = pickle.loads(pickle.dumps(Datum(str(path), 2, 1, "owl")))
    assert (again.impath, again.label, again.domain, again.classname) == (str(path), 2, 1, "owl")
    assert Datum.__module__ == "dassl.data.datasets.base_dataset"  # what the family's pickles name


def test_domains_are_checked() -> None:
    data = DatasetBase(train_x=_items({0: 1}))
    data.domains = ["art", "photo"]
    data.check_input_domains(["art"], ["photo"])
    with pytest.raises(ConfigError, match="unknown domain 'sketch'"):
        data.check_input_domains(["art"], ["sketch"])
    with pytest.raises(ConfigError, match="TARGET_DOMAINS is empty"):
        data.check_input_domains(["art"], [])


def test_unknown_data_set_offers_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="unknown dataset 'ToyPicture'; did you mean 'ToyPictures'"
    ):
        build_dataset(toy_cfg(tmp_path / "data", tmp_path, DATASET__NAME="ToyPicture"))


def _groups(items: list[Any], indices: list[int], attribute: str, size: int) -> list[Counter]:
    values = [getattr(items[i], attribute) for i in indices]
    return [Counter(values[start : start + size]) for start in range(0, len(values), size)]


@pytest.mark.parametrize("name", ["RandomDomainSampler", "SeqDomainSampler"])
def test_domain_samplers_fill_batches_equally(name: str) -> None:
    items = _items({0: 8, 1: 8})
    indices = list(build_sampler(name, data_source=items, batch_size=4))
    assert len(indices) == len(set(indices)) == 16
    assert all(batch == {0: 2, 1: 2} for batch in _groups(items, indices, "domain", 4))
    with pytest.raises(ConfigError, match="cannot be shared"):
        build_sampler(name, data_source=items, batch_size=3)


def test_class_sampler_gives_equal_classes_and_repeats_small_ones() -> None:
    items = _items({0: 4, 1: 4, 2: 1})
    sampler = build_sampler("RandomClassSampler", data_source=items, batch_size=4, n_ins=2)
    batches = _groups(items, list(sampler), "label", 4)
    assert batches and all(set(batch.values()) == {2} and len(batch) == 2 for batch in batches)
    with pytest.raises(ConfigError, match="4 pictures a class"):
        build_sampler("RandomClassSampler", data_source=items, batch_size=2, n_ins=4)


def test_plain_samplers_visit_everything_once() -> None:
    items = _items({0: 7})
    assert list(build_sampler("SequentialSampler", data_source=items)) == list(range(7))
    assert sorted(build_sampler("RandomSampler", data_source=items)) == list(range(7))
    with pytest.raises(ConfigError, match="unknown sampler"):
        build_sampler("Sampler", data_source=items)


def _picture() -> Image.Image:
    pixels = torch.randint(
        0, 256, (3, 50, 70), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    return T.functional.to_pil_image(pixels)


def _cfg(tmp_path: Path, *choices: str, **settings: Any) -> Any:
    return toy_cfg(tmp_path, tmp_path, INPUT__TRANSFORMS=choices, INPUT__SIZE=(32, 32), **settings)


def test_clip_transforms_are_torchvisions(tmp_path: Path) -> None:
    mean, std = [0.48, 0.45, 0.40], [0.26, 0.26, 0.27]
    cfg = _cfg(
        tmp_path,
        "normalize",
        "random_flip",
        "random_resized_crop",
        INPUT__INTERPOLATION="bicubic",
        INPUT__PIXEL_MEAN=mean,
        INPUT__PIXEL_STD=std,
    )
    cubic = T.InterpolationMode.BICUBIC
    train = T.Compose(
        [
            T.RandomResizedCrop((32, 32), scale=(0.08, 1.0), interpolation=cubic),
            T.RandomHorizontalFlip(),
            T.ToTensor(),
            T.Normalize(mean, std),
        ]
    )
    test = T.Compose(
        [
            T.Resize(32, interpolation=cubic),
            T.CenterCrop((32, 32)),
            T.ToTensor(),
            T.Normalize(mean, std),
        ]
    )
    built = build_transform(cfg, is_train=True)
    for seed in range(4):
        torch.manual_seed(seed)
        ours = built(_picture())
        torch.manual_seed(seed)
        assert torch.equal(ours, train(_picture()))
    assert torch.equal(build_transform(cfg, is_train=False)(_picture()), test(_picture()))


def test_transform_lines_name_each_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = _cfg(tmp_path, "random_resized_crop", "random_flip", "normalize")
    capsys.readouterr()
    build_transform(cfg, is_train=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "Building transform_train",
        "+ random resized crop (size=(32, 32), scale=(0.08, 1.0))",
        "+ random flip",
    ]
    build_transform(cfg, is_train=False)
    assert capsys.readouterr().out.splitlines()[:3] == [
        "Building transform_test",
        "+ resize the smaller edge to 32",
        "+ 32x32 center crop",
    ]


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_gives_a_finite_picture_of_the_size(choice: str, tmp_path: Path) -> None:
    transform = build_transform(_cfg(tmp_path, choice, INPUT__GB_K=3), is_train=True)
    square = _picture().resize((32, 32))
    for seed in range(4):  # on both sides of each probability
        torch.manual_seed(seed)
        image = transform(square)
        assert image.shape == (3, 32, 32) and torch.isfinite(image).all()


def test_tensor_steps_do_what_they_say(tmp_path: Path) -> None:
    cut = build_transform(_cfg(tmp_path, "cutout", INPUT__CUTOUT_LEN=8), is_train=True)
    white = Image.new("RGB", (32, 32), "white")
    holes = (cut(white) == 0).all(dim=0)
    rows, columns = holes.any(dim=1).sum(), holes.any(dim=0).sum()
    assert 0 < rows <= 8 and 0 < columns <= 8 and holes.sum() == rows * columns
    even = build_transform(_cfg(tmp_path, "instance_norm"), is_train=False)(_picture())
    assert (
        even.mean(dim=(1, 2)).abs().max() < 1e-5 and (even.std(dim=(1, 2)) - 1).abs().max() < 1e-4
    )


def test_policies_unknown_names_and_modes_are_refused(tmp_path: Path) -> None:
    for choice in ("randaugment", "imagenet_policy"):
        with pytest.raises(ConfigError, match=f"'{choice}' is not part of the embedded host"):
            build_transform(_cfg(tmp_path, choice))
    with pytest.raises(
        ConfigError, match="unknown transform 'normalise'; did you mean 'normalize'"
    ):
        build_transform(_cfg(tmp_path, "normalise"))
    with pytest.raises(ConfigError, match="unknown interpolation 'cubic'"):
        build_transform(_cfg(tmp_path, "normalize", INPUT__INTERPOLATION="cubic"))
    assert build_transform(_cfg(tmp_path, INPUT__NO_TRANSFORM=True)) is None


def test_wrapper_gives_what_trainers_read(tmp_path: Path) -> None:
    cfg = toy_cfg(
        tmp_path / "data", tmp_path, DATALOADER__RETURN_IMG0=True, DATALOADER__K_TRANSFORMS=2
    )
    items = build_dataset(cfg).train_x
    one = DatasetWrapper(cfg, items, transform=build_transform(cfg), is_train=True)[5]
    assert (
        one["label"] == 1
        and one["domain"] == 1
        and one["impath"] == items[5].impath
        and one["index"] == 5
    )
    assert [image.shape for image in one["img"]] == [(3, 16, 16)] * 2 and one["img0"].shape == (
        3,
        16,
        16,
    )
    both = DatasetWrapper(cfg, items, transform=[T.ToTensor(), T.CenterCrop(4)], is_train=False)[0]
    assert both["img"].shape == (3, 20, 20) and both["img2"].size == (4, 4)
    assert DatasetWrapper(cfg, items)[0]["img"].size == (20, 20)
    with pytest.raises(ConfigError, match="no transform to repeat"):
        DatasetWrapper(cfg, items, is_train=True)


def test_manager_builds_loaders_and_prints_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = toy_cfg(tmp_path / "data", tmp_path, DATALOADER__TRAIN_X__BATCH_SIZE=5)
    manager = DataManager(cfg)
    assert (
        len(manager.train_loader_x) == 2 and manager.train_loader_u is None
    )  # 12 pictures, two dropped
    assert [batch["img"].shape[0] for batch in manager.train_loader_x] == [5, 5]
    assert (
        sum(len(batch["label"]) for batch in manager.test_loader) == 3
        and len(manager.val_loader) == 1
    )
    assert (
        manager.num_classes == 3
        and manager.lab2cname[0] == "airplane"
        and manager.num_source_domains == 0
    )
    rows = (
        "Dataset    ToyPictures",
        "# classes  3",
        "# train_x  12",
        "# val      3",
        "# test     3",
    )
    rule = "---------  -----------"
    assert capsys.readouterr().out.splitlines()[-7:] == [rule, *rows, rule]


def test_small_training_set_is_one_short_batch(tmp_path: Path) -> None:
    manager = DataManager(toy_cfg(tmp_path / "data", tmp_path, DATALOADER__TRAIN_X__BATCH_SIZE=50))
    assert [len(batch["label"]) for batch in manager.train_loader_x] == [12]


def test_empty_split_is_named(tmp_path: Path) -> None:
    root = tiny_image_folder(tmp_path / "data", classes=2, per_class=4, size=20)
    with pytest.raises(DataError, match="ToyPictures: the test split has no pictures"):
        DataManager(toy_cfg(root, tmp_path))


@pytest.mark.parametrize("workers", [0, 2])
def test_same_seed_gives_the_same_batches(workers: int, tmp_path: Path) -> None:
    cfg = toy_cfg(tmp_path / "data", tmp_path, DATALOADER__NUM_WORKERS=workers)
    manager = DataManager(cfg)

    def batches(seed: int) -> torch.Tensor:
        set_random_seed(seed)
        return torch.stack([batch["img"] for batch in manager.train_loader_x])

    first = batches(1)
    assert torch.equal(first, batches(1)) and not torch.equal(first, batches(2))


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_picture_stops_the_run_and_is_named(workers: int, tmp_path: Path) -> None:
    cfg = toy_cfg(tmp_path / "data", tmp_path, DATALOADER__NUM_WORKERS=workers)
    manager = DataManager(cfg)
    path = Path(manager.dataset.test[1].impath)
    path.write_bytes(path.read_bytes()[:120])
    with pytest.raises(
        DataError, match=rf"^picture '.*{path.name}' cannot be read: .*; replace or remove it$"
    ) as e:
        list(manager.test_loader)
    assert "\n" not in str(e.value)  # also out of a worker process
