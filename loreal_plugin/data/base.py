"""What all datasets of CoOp-family hosts do in the same way: split, few-shot subset, class halves.

`FewShotMixin` sits in front of a host's `DatasetBase`; the host's `Datum` comes in as a class
attribute:

    class FewShotDataset(FewShotMixin, DatasetBase):
        datum_class = Datum

A dataset then names its folders and says how to draw its split.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from loreal_plugin.data.fewshot import few_shot_parts, subsample_classes
from loreal_plugin.data.items import Item, check_files, class_pictures, require
from loreal_plugin.data.names import data_root
from loreal_plugin.data.splits import Split, draw_split, read_split, save_split
from loreal_plugin.errors import DataError

_LAYOUT = "see docs/DATASETS.md for the layout"


class FewShotMixin:
    """The family's loader on top of a host's `DatasetBase`.

    Class attributes:
        dataset_dir: folder under `DATASET.ROOT` (on the instance: the full path).
        image_folder: folder of the pictures inside it; paths in the JSON files are relative to it.
        split_file: JSON with the split, read where present and saved where not; "" = there is no
            such file, `draw` gives the same split each time.
        few_shot_folder: where the few-shot subsets are kept.
        val_is_test: there is no val part; the test part is used, after few-shot sampling.
        datum_class: the host's `Datum`.
    """

    dataset_dir: Any = ""
    image_folder: ClassVar[str] = ""
    split_file: ClassVar[str] = ""
    few_shot_folder: ClassVar[str] = "split_fewshot"
    val_is_test: ClassVar[bool] = False
    datum_class: ClassVar[type]

    def __init__(self, cfg: Any) -> None:
        self.dataset_dir = self.find_dataset_dir(cfg)
        self.image_dir = self.find_image_dir()
        split = self.load_split()
        split = self.few_shot(split, cfg.DATASET.NUM_SHOTS, cfg.SEED)
        if self.val_is_test:
            split = split._replace(val=split.test)
        split = self.subsample(split, cfg.DATASET.SUBSAMPLE_CLASSES)
        self.check(split, cfg.DATASET.SUBSAMPLE_CLASSES)
        train, val, test = (self.datums(part) for part in split)
        super().__init__(train_x=train, val=val or None, test=test)

    def find_dataset_dir(self, cfg: Any) -> Path:
        """Return the dataset's folder; DataError if it is not there."""
        folder = data_root(cfg.DATASET.ROOT) / self.dataset_dir
        return require(folder, f"dataset {type(self).__name__}", f"put or link it there; {_LAYOUT}")

    def find_image_dir(self) -> Path:
        """Return the folder of the pictures; DataError if it is not there."""
        return self.need(self.image_folder)

    def need(self, name: str) -> Path:
        """Return the path of a file or folder of this dataset; DataError if it is not there."""
        return require(self.dataset_dir / name, f"{type(self).__name__}'s {name}", _LAYOUT)

    def draw(self) -> Split:
        """Return the split of the dataset's own files; by default of a folder per class."""
        return draw_split(class_pictures(self.image_dir))

    def load_split(self) -> Split:
        """Return the saved split, or draw and save it."""
        if not self.split_file:
            return self.draw()
        path = self.dataset_dir / self.split_file
        if path.is_file():
            return read_split(path, self.image_dir)
        split = self.draw()
        self.check_split_files(split)
        save_split(split, path, self.image_dir)
        return split

    def check_split_files(self, split: Split) -> None:
        """Refuse to save a split whose pictures are not all there."""
        for part, items in zip(split._fields, split, strict=True):
            check_files(items, f"the {part} list of {type(self).__name__}", "complete the dataset")

    def few_shot(self, split: Split, shots: int, seed: int) -> Split:
        """Return the split with train and val cut to `shots` a class; unchanged below one shot."""
        if shots < 1:
            return split
        parts = {"train": split.train} | ({} if self.val_is_test else {"val": split.val})
        folder = self.dataset_dir / self.few_shot_folder
        drawn = few_shot_parts(
            parts, shots=shots, seed=seed, folder=folder, image_dir=self.image_dir
        )
        return split._replace(**drawn)

    def subsample(self, split: Split, which: str) -> Split:
        """Return the split with all, the base or the new classes."""
        return Split(*subsample_classes(*split, subsample=which))

    def check(self, split: Split, subsample: str) -> None:
        """Raise a DataError unless labels are 0..C-1, each named, and train and test not empty."""
        name = f"{type(self).__name__} ({self.dataset_dir}, {subsample} classes)"
        for part in ("train", "test"):
            if not getattr(split, part):
                raise DataError(f"{name} has no {part} pictures; add some, or choose other classes")
        names: dict[int, str] = {}
        for item in split.train:
            if names.setdefault(item.label, item.classname) != item.classname:
                both = f"'{names[item.label]}' and '{item.classname}'"
                raise DataError(f"{name}: label {item.label} is called {both}; fix the split")
        if sorted(names) != list(range(len(names))):
            raise DataError(
                f"{name}: train labels must be 0..{len(names) - 1}, found up to {max(names)}; fix"
                " the split"
            )
        unknown = {
            item.classname
            for part in (split.val, split.test)
            for item in part
            if item.label not in names
        }
        if unknown:
            raise DataError(
                f"{name}: no training picture for class(es) {', '.join(sorted(unknown)[:5])}; fix"
                " the split"
            )

    def datums(self, items: Iterable[Item]) -> list[Any]:
        """Return the host's own records, after a check that every picture is there."""
        items = list(items)
        todo = f"complete it, or delete {self.split_file} to draw a split anew"
        todo = todo if self.split_file else _LAYOUT
        check_files(items, f"{type(self).__name__} in {self.dataset_dir}", todo)
        return [
            self.datum_class(impath=item.path, label=item.label, classname=item.classname)
            for item in items
        ]
