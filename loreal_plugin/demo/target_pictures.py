"""Keeps the pictures of the target worlds as JPEG files.

Layout: `<root>/<world>/images/<class name>/<index>.jpg`.
Folders are completed and repaired as those of the world itself are (`pictures`).
"""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from loreal_plugin.demo import world
from loreal_plugin.demo.pictures import Item, as_jpeg, faulty_files, file_name, fill_folder
from loreal_plugin.demo.targets import TARGETS_VERSION, TargetWorld

VERSION = [world.WORLD_VERSION, TARGETS_VERSION]


def target_folder(root: Path, target: TargetWorld, label: int) -> Path:
    """Return the folder of one class."""
    return Path(root) / target.name / "images" / target.classnames[label].replace(" ", "_")


def ensure_target_pictures(root: Path, target: TargetWorld) -> Path:
    """Draw the missing or broken pictures of a target world under `root`; return its folder."""
    folders = {label: target_folder(root, target, label) for label in range(len(target.classnames))}
    faulty = {
        label: len(faulty_files(folder, target.per_class, VERSION))
        for label, folder in folders.items()
    }
    if any(faulty.values()):
        title, total = f"drawing {target.name}", sum(faulty.values())
        with tqdm(total=total, desc=title, unit="picture", mininterval=2) as progress:
            for label in (label for label, count in faulty.items() if count):
                progress.update(_fill(folders[label], target, label))
    return Path(root) / target.name


def _fill(folder: Path, target: TargetWorld, label: int) -> int:
    """Draw what is faulty of one class; return how many pictures that were."""
    return fill_folder(
        folder, target.per_class, lambda index: as_jpeg(target.draw(label, index)), "test", VERSION
    )


def list_target_items(root: Path, target: TargetWorld) -> list[Item]:
    """Return (path, label, class name) of every picture, by class and index."""
    return [
        (str(target_folder(root, target, label) / file_name(index)), label, name)
        for label, name in enumerate(target.classnames)
        for index in range(target.per_class)
    ]
