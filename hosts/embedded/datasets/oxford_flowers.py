"""Oxford Flowers: 102 kinds of flowers."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from datasets._plugin import ClassPictures, DataError, Split, draw_split, read_json_file
from datasets.base import FewShotDataset
from datasets.matlab import read_mat


@DATASET_REGISTRY.register()
class OxfordFlowers(FewShotDataset):
    """`oxford_flowers/jpg/*.jpg`, `imagelabels.mat`, `cat_to_name.json`; the split is drawn."""

    dataset_dir = "oxford_flowers"
    image_folder = "jpg"
    split_file = "split_zhou_OxfordFlowers.json"

    def draw(self) -> Split:
        """Return the split drawn class by class, in the order of the label file."""
        names = read_json_file(self.need("cat_to_name.json"), "class names")
        pictures: dict[int, list[str]] = {}
        for number, label in enumerate(read_mat(self.need("imagelabels.mat"), "labels"), start=1):
            pictures.setdefault(int(label), []).append(
                str(self.image_dir / f"image_{number:05d}.jpg")
            )
        unnamed = [label for label in pictures if str(label) not in names]
        if unnamed:
            raise DataError(
                f"{self.dataset_dir / 'cat_to_name.json'} has no name for class(es) {unnamed[:5]}"
            )
        return draw_split(
            [
                ClassPictures(label - 1, names[str(label)], paths)
                for label, paths in pictures.items()
            ]
        )
