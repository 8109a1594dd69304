"""Stanford Cars: 196 makes, models and years."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from datasets._plugin import Item, Split, hold_out
from datasets.base import FewShotDataset
from datasets.matlab import read_mat


def year_first(name: str) -> str:
    """Return "2012 Tesla Model S Sedan" for "Tesla Model S Sedan 2012"."""
    model, _, year = name.rpartition(" ")
    return f"{year} {model}" if model else name


@DATASET_REGISTRY.register()
class StanfordCars(FewShotDataset):
    """`stanford_cars/cars_{train,test}/`, `devkit/*.mat`, `cars_test_annos_withlabels.mat`."""

    dataset_dir = "stanford_cars"
    split_file = "split_zhou_StanfordCars.json"

    def draw(self) -> Split:
        """Return the published test part, and the published training part divided."""
        names = [
            year_first(str(name))
            for name in read_mat(self.need("devkit/cars_meta.mat"), "class_names")
        ]
        train, val = hold_out(self.read_part("cars_train", "devkit/cars_train_annos.mat", names))
        return Split(
            train, val, self.read_part("cars_test", "cars_test_annos_withlabels.mat", names)
        )

    def read_part(self, folder: str, annotations: str, names: list[str]) -> list[Item]:
        """Return the items of one annotation file; its classes count from 1."""
        rows = read_mat(self.need(annotations), "annotations")
        labels = [int(row["class"]) - 1 for row in rows]
        images = self.need(folder)
        pictures = [str(images / str(row["fname"])) for row in rows]
        return [
            Item(picture, label, names[label])
            for picture, label in zip(pictures, labels, strict=True)
        ]
