"""Miniatures of the public datasets, laid out as their publishers do: folders, lists, `.mat`,
`.json`.

Every writer fills a data folder with one tiny dataset, without the split file of the family, and
returns a
`Miniature`: what a loader must find in it. Pictures are 8 x 8 pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.io import savemat

WNIDS = ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475")
WORDNET_NAMES = ("tench", "goldfish", "great white shark", "tiger shark", "hammerhead shark")


class Miniature(NamedTuple):
    """What a loader must find.

    Attributes:
        folder: the dataset's folder.
        classnames: by label.
        sizes: pictures a class in train, val, test.
    """

    folder: Path
    classnames: Sequence[str]
    sizes: tuple[int, int, int]


def write_picture(path: Path, shade: int = 0) -> Path:
    """Write an 8 x 8 picture, grey for odd `shade`, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = (40 * shade % 256, 90, 200)
    image = Image.new("L", (8, 8), colour[0]) if shade % 2 else Image.new("RGB", (8, 8), colour)
    image.save(path, "PNG" if path.suffix == ".png" else "JPEG")
    return path


def write_classes(folder: Path, classes: Sequence[str], count: int, ending: str = ".jpg") -> None:
    """Write `count` pictures into a folder per class."""
    for label, name in enumerate(classes):
        for number in range(count):
            write_picture(folder / name / f"picture_{number:04d}{ending}", shade=label + number)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write a text file, a line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def caltech101(root: Path) -> Miniature:
    """Four renamed classes, one other, and the two folders that are no classes."""
    folder = root / "caltech-101"
    images = folder / "101_ObjectCategories"
    write_classes(
        images, ["airplanes", "Faces", "Leopards", "Motorbikes", "yin_yang", "Faces_easy"], 10
    )
    write_picture(images / "BACKGROUND_Google" / "image_0001.jpg")
    (images / "BACKGROUND_Google" / "tmp").write_text("not a picture")
    return Miniature(folder, ["face", "leopard", "motorbike", "airplane", "yin_yang"], (5, 2, 3))


def dtd(root: Path) -> Miniature:
    """Folders as published, with the lists that the family does not read and a hidden file."""
    write_classes(root / "dtd" / "images", ["banded", "blotchy", "zigzagged"], 10)
    write_lines(root / "dtd" / "labels" / "train1.txt", ["banded/banded_0002.jpg"])
    (root / "dtd" / "images" / "banded" / ".directory").write_text("[Dolphin]")
    return Miniature(root / "dtd", ["banded", "blotchy", "zigzagged"], (5, 2, 3))


def eurosat(root: Path) -> Miniature:
    """Some of the ten folders."""
    write_classes(root / "eurosat" / "2750", ["AnnualCrop", "Forest", "Highway", "SeaLake"], 20)
    names = ["Annual Crop Land", "Forest", "Highway or Road", "Sea or Lake"]
    return Miniature(root / "eurosat", names, (10, 4, 6))


def food101(root: Path) -> Miniature:
    """Folders as published, with the lists that the family does not read."""
    classes = ["apple_pie", "baby_back_ribs", "waffles"]
    write_classes(root / "food-101" / "images", classes, 10)
    write_lines(root / "food-101" / "meta" / "classes.txt", classes)
    return Miniature(root / "food-101", classes, (5, 2, 3))


def oxford_pets(root: Path) -> Miniature:
    """Breeds of several words; lists with species and breed id."""
    folder = root / "oxford_pets"
    breeds = ["Abyssinian", "american_bulldog", "Maine_Coon"]
    lists: dict[str, list[str]] = {"trainval.txt": [], "test.txt": []}
    for label, breed in enumerate(breeds, start=1):
        for number in range(1, 16):
            write_picture(folder / "images" / f"{breed}_{number}.jpg", shade=number)
            line = f"{breed}_{number} {label} 1 {label}"
            lists["trainval.txt" if number <= 10 else "test.txt"].append(line)
    for name, lines in lists.items():
        write_lines(folder / "annotations" / name, lines)
    return Miniature(folder, ["abyssinian", "american_bulldog", "maine_coon"], (8, 2, 5))


def oxford_flowers(root: Path) -> Miniature:
    """Labels from 1 in a MATLAB row, not in order of the classes; names in JSON."""
    folder = root / "oxford_flowers"
    labels = np.array([3] * 10 + [1] * 10 + [4] * 10 + [2] * 10, dtype=np.uint8)
    for number in range(1, len(labels) + 1):
        write_picture(folder / "jpg" / f"image_{number:05d}.jpg", shade=number)
    savemat(folder / "imagelabels.mat", {"labels": labels[None]})
    names = ["pink primrose", "hard-leaved pocket orchid", "canterbury bells", "sweet pea"]
    content = {str(label): name for label, name in enumerate(names, start=1)}
    (folder / "cat_to_name.json").write_text(json.dumps(content))
    return Miniature(folder, names, (5, 2, 3))


def _cars_annotations(path: Path, folder: Path, per_class: int, n_classes: int) -> None:
    rows = []
    for label in range(1, n_classes + 1):
        for _ in range(per_class):
            name = f"{len(rows) + 1:05d}.jpg"
            write_picture(folder / name, shade=label)
            rows.append((1, 1, 8, 8, label, name))
    kinds = [
        (name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"annotations": np.array(rows, dtype=kinds)[None]})


def stanford_cars(root: Path) -> Miniature:
    """Struct arrays as in the devkit; the year moves to the front of the name."""
    folder = root / "stanford_cars"
    names = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Fisker Karma Sedan 2012"]
    names += ["Tesla Model S Sedan 2012"]
    _cars_annotations(
        folder / "devkit" / "cars_train_annos.mat", folder / "cars_train", 10, len(names)
    )
    _cars_annotations(
        folder / "cars_test_annos_withlabels.mat", folder / "cars_test", 4, len(names)
    )
    savemat(
        folder / "devkit" / "cars_meta.mat", {"class_names": np.array(names, dtype=object)[None]}
    )
    found = ["2000 AM General Hummer SUV", "2012 Acura RL Sedan", "2012 Fisker Karma Sedan"]
    found += ["2012 Tesla Model S Sedan"]
    return Miniature(folder, found, (8, 2, 4))


def fgvc_aircraft(root: Path) -> Miniature:
    """Published in three parts; variants with spaces and slashes."""
    folder = root / "fgvc_aircraft"
    variants = ["707-320", "Boeing 717", "F/A-18", "Yak-42"]
    write_lines(folder / "variants.txt", variants)
    sizes = (6, 3, 4)
    number = 1000000
    for part, size in zip(("train", "val", "test"), sizes, strict=True):
        lines = []
        for variant in variants:
            for _ in range(size):
                number += 1
                write_picture(folder / "images" / f"{number}.jpg", shade=number)
                lines.append(f"{number} {variant}")
        write_lines(folder / f"images_variant_{part}.txt", lines)
    return Miniature(folder, variants, sizes)


def sun397(root: Path) -> Miniature:
    """Folders below a letter, one of them with a qualifier."""
    folder = root / "sun397"
    scenes = ["a/abbey", "a/apse/indoor", "s/street", "y/yard"]
    write_lines(folder / "ClassName.txt", [f"/{scene}" for scene in scenes])
    lists: dict[str, list[str]] = {"Training_01.txt": [], "Testing_01.txt": []}
    for scene in scenes:
        for number in range(14):
            picture = f"{scene}/sun_{number:04d}.jpg"
            write_picture(folder / "SUN397" / picture, shade=number)
            lists["Training_01.txt" if number < 10 else "Testing_01.txt"].append(f"/{picture}")
    for name, lines in lists.items():
        write_lines(folder / name, lines)
    return Miniature(folder, ["abbey", "indoor apse", "street", "yard"], (8, 2, 4))


def ucf101(root: Path) -> Miniature:
    """Videos in the lists, their middle frames on disk; the test list has no labels."""
    folder = root / "ucf101"
    actions = ["ApplyEyeMakeup", "Archery", "Surfing", "YoYo"]
    spaced = ["Apply_Eye_Makeup", "Archery", "Surfing", "Yo_Yo"]
    write_lines(
        folder / "ucfTrainTestlist" / "classInd.txt", [f"{i} {a}" for i, a in enumerate(actions, 1)]
    )
    train, test = [], []
    for label, (action, frames) in enumerate(zip(actions, spaced, strict=True), start=1):
        for number in range(13):
            name = f"v_{action}_g01_c{number:02d}"
            write_picture(folder / "UCF-101-midframes" / frames / f"{name}.jpg", shade=number)
            line = f"{action}/{name}.avi"
            (train if number < 10 else test).append(f"{line} {label}" if number < 10 else line)
    write_lines(folder / "ucfTrainTestlist" / "trainlist01.txt", train)
    write_lines(folder / "ucfTrainTestlist" / "testlist01.txt", test)
    return Miniature(folder, spaced, (8, 2, 3))


def _classnames_file(folder: Path) -> None:
    lines = [f"{wnid} {name}" for wnid, name in zip(WNIDS, WORDNET_NAMES, strict=True)]
    write_lines(folder / "classnames.txt", lines)


def imagenet(root: Path) -> Miniature:
    """`.JPEG` files in train and val; val stands for val and test."""
    folder = root / "imagenet"
    _classnames_file(folder)
    write_classes(folder / "images" / "train", WNIDS, 6, ".JPEG")
    write_classes(folder / "images" / "val", WNIDS, 3, ".JPEG")
    return Miniature(folder, WORDNET_NAMES, (6, 3, 3))


def _variant(
    root: Path, folder: str, images: str, classes: Sequence[str], names: Sequence[str]
) -> Miniature:
    _classnames_file(root / folder)
    write_classes(root / folder / images, classes, 3, ".JPEG")
    return Miniature(root / folder, names, (3, 0, 3))


def imagenetv2(root: Path) -> Miniature:
    """Numbered folders."""
    images = "imagenetv2-matched-frequency-format-val"
    return _variant(root, "imagenetv2", images, [str(n) for n in range(len(WNIDS))], WORDNET_NAMES)


def imagenet_sketch(root: Path) -> Miniature:
    """All classes."""
    return _variant(root, "imagenet-sketch", "images", WNIDS, WORDNET_NAMES)


def imagenet_a(root: Path) -> Miniature:
    """Some of the classes, and a text file beside them."""
    found = _variant(root, "imagenet-adversarial", "imagenet-a", WNIDS[1::2], WORDNET_NAMES[1::2])
    (found.folder / "imagenet-a" / "README.txt").write_text("read me")
    return found


def imagenet_r(root: Path) -> Miniature:
    """Some of the classes, and a text file beside them."""
    found = _variant(root, "imagenet-rendition", "imagenet-r", WNIDS[::2], WORDNET_NAMES[::2])
    (found.folder / "imagenet-r" / "README.txt").write_text("read me")
    return found


MINIATURES: dict[str, Callable[[Path], Miniature]] = {
    "Caltech101": caltech101,
    "DescribableTextures": dtd,
    "EuroSAT": eurosat,
    "FGVCAircraft": fgvc_aircraft,
    "Food101": food101,
    "ImageNet": imagenet,
    "ImageNetA": imagenet_a,
    "ImageNetR": imagenet_r,
    "ImageNetSketch": imagenet_sketch,
    "ImageNetV2": imagenetv2,
    "OxfordFlowers": oxford_flowers,
    "OxfordPets": oxford_pets,
    "StanfordCars": stanford_cars,
    "SUN397": sun397,
    "UCF101": ucf101,
}
VARIANTS = ("ImageNetA", "ImageNetR", "ImageNetSketch", "ImageNetV2")
