"""ImageNet, and the base of its variants."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY

from datasets._plugin import DataError, Item, Split, class_pictures, read_classnames
from datasets.base import FewShotDataset


class WordnetFolders(FewShotDataset):
    """Folders named by WordNet ids; `classnames.txt` names them (`<wnid> <class name>` a line)."""

    def read_names(self) -> dict[str, str]:
        """Return class names by WordNet id, in the order of the file."""
        return read_classnames(self.need("classnames.txt"))

    def read_folders(self, folder: Path, names: Mapping[str, str]) -> list[Item]:
        """Return the items of a folder per class, labelled in sorted order.

        Raises:
            DataError: a folder has no name in `classnames.txt`.
        """
        classes = class_pictures(folder)
        unknown = [one.classname for one in classes if one.classname not in names]
        if unknown:
            raise DataError(
                f"{folder}: no name in classnames.txt for class folder(s) {', '.join(unknown[:5])}"
            )
        return [
            item for one in classes for item in one._replace(classname=names[one.classname]).items()
        ]


@DATASET_REGISTRY.register()
class ImageNet(WordnetFolders):
    """`imagenet/images/{train,val}/<wnid>/*.JPEG`, `imagenet/classnames.txt`.

    As is usual, the published val part is the test part; it also stands in for val. Nothing is
    cached: listing takes seconds, and the family's `preprocessed.pkl` could run code.
    """

    dataset_dir = "imagenet"
    image_folder = "images"
    val_is_test = True

    def draw(self) -> Split:
        """Return the published parts."""
        names = self.read_names()
        train, test = (
            self.read_folders(self.need(f"images/{part}"), names) for part in ("train", "val")
        )
        return Split(train, [], test)


class ImageNetVariant(WordnetFolders):
    """A test-only variant: all pictures are the test part, and stand in as the training part.

    Shots and class halves do not apply, as in the public hosts.
    """

    def few_shot(self, split: Split, shots: int, seed: int) -> Split:
        """Return the split unchanged."""
        return split

    def subsample(self, split: Split, which: str) -> Split:
        """Return the split unchanged."""
        return split

    def draw(self) -> Split:
        """Return all pictures, as train and as test."""
        items = self.read_folders(self.image_dir, self.read_names())
        return Split(items, [], items)
