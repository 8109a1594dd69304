"""`Folder`: anybody's own pictures, a folder per class."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from loreal_plugin.data.base import FewShotMixin
from loreal_plugin.data.items import (
    ClassPictures,
    Item,
    class_pictures,
    folder_content,
    sub_folders,
)
from loreal_plugin.data.names import data_root
from loreal_plugin.data.splits import Split, draw_split, hold_out
from loreal_plugin.data.storage import read_lines
from loreal_plugin.errors import DataError

RESERVED = ("split_fewshot",)  # our own folder beside the classes


def read_classnames(path: Path) -> dict[str, str]:
    """Return class names by folder from lines `<folder> <class name>`, in the order of the file.

    Raises:
        DataError: it cannot be read, or a line has no name.
    """
    names = {}
    for line in read_lines(path, "class names"):
        folder, _, name = line.partition(" ")
        if not name.strip():
            raise DataError(f"{path}: expected lines '<folder> <class name>', found '{line}'")
        names[folder] = name.strip()
    return names


class FolderMixin(FewShotMixin):
    """Pictures in `<DATASET.ROOT>/<DATASET.FOLDER>`, in one of two layouts.

    - `<class>/*.jpg`: 50 % train, 20 % val, 30 % test of every class, drawn once and saved in
      `split_loreal.json`;
    - `train/<class>/*.jpg`, `test/<class>/*.jpg` and perhaps `val/<class>/*.jpg`: parts as they
      are; without `val`, 20 % of train is held out (saved in the same file).

    Labels follow the sorted folder names. A file `classnames.txt` (`<folder> <class name>` a line)
    renames classes.
    """

    split_file = "split_loreal.json"

    def find_dataset_dir(self, cfg: Any) -> Path:
        """Return `<DATASET.ROOT>/<DATASET.FOLDER>`; DataError if the key or folder is missing."""
        root = data_root(cfg.DATASET.ROOT)
        name = cfg.DATASET.get("FOLDER", "")
        if not name:
            raise DataError(
                "dataset Folder: DATASET.FOLDER is empty; name a folder of DATA"
                f" ({folder_content(root)})"
            )
        if not (root / name).is_dir():
            near = difflib.get_close_matches(name, sub_folders(root), n=1)
            guess = f"; did you mean '{near[0]}'?" if near else ""
            raise DataError(
                f"DATASET.FOLDER is '{name}', which is not a folder of DATA{guess}"
                f" ({folder_content(root)})"
            )
        return root / name

    def is_divided(self) -> bool:
        """Return whether train/ and test/ are parts; a class called "train" has no sub-folders."""
        parts = [self.image_dir / part for part in ("train", "test")]
        return all(part.is_dir() for part in parts) and bool(sub_folders(parts[0]))

    def names(self) -> dict[str, str]:
        """Return the class names of `classnames.txt`, or none."""
        path = self.dataset_dir / "classnames.txt"
        return read_classnames(path) if path.is_file() else {}

    def load_split(self) -> Split:
        """Return the saved split, or draw it; print how many pictures are not in a saved one."""
        if self.is_divided() and (self.image_dir / "val").is_dir():
            return self.draw()
        split = super().load_split()
        known = {item.path for part in split for item in part}
        extra = sum(path not in known for path in self.all_paths())
        if extra:
            print(
                f"{extra} picture(s) are not in {self.dataset_dir / self.split_file}; delete it to"
                " draw anew"
            )
        return split

    def all_paths(self) -> list[str]:
        """Return every picture that a new split would be drawn from."""
        if self.is_divided():
            return [item.path for part in ("train", "test") for item in self.part(part)]
        return [path for one in self.classes(self.image_dir) for path in one.paths]

    def draw(self) -> Split:
        """Return the split of the layout that is there."""
        if not self.is_divided():
            return draw_split(self.classes(self.image_dir))
        if (self.image_dir / "val").is_dir():
            return Split(self.part("train"), self.part("val"), self.part("test"))
        train, val = hold_out(self.part("train"))
        return Split(train, val, self.part("test"))

    def classes(self, folder: Path) -> list[ClassPictures]:
        """Return the classes below `folder`."""
        return class_pictures(folder, ignored=RESERVED, names=self.names())

    def part(self, name: str) -> list[Item]:
        """Return the items of train/, val/ or test/, labelled by the sorted folders of train/.

        Raises:
            DataError: the part has a class that train/ does not have.
        """
        folders = sub_folders(self.image_dir / "train", RESERVED)
        labels = {folder: label for label, folder in enumerate(folders)}
        items: list[Item] = []
        for one in self.classes(self.image_dir / name):
            folder = Path(one.paths[0]).parent.name
            if folder not in labels:
                raise DataError(
                    f"{self.image_dir / name} has a class '{folder}' that train/ does not have "
                    f"(train/ has: {', '.join(list(labels)[:6])}); rename, remove or add it"
                )
            items += one._replace(label=labels[folder]).items()
        return items
