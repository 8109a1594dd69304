"""Oxford-IIIT Pets: 37 breeds of cats and dogs."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from datasets._plugin import DataError, Item, Split, hold_out, read_lines
from datasets.base import FewShotDataset


@DATASET_REGISTRY.register()
class OxfordPets(FewShotDataset):
    """`oxford_pets/images/*.jpg`, `annotations/trainval.txt` and `test.txt`."""

    dataset_dir = "oxford_pets"
    image_folder = "images"
    split_file = "split_zhou_OxfordPets.json"

    def draw(self) -> Split:
        """Return the published test list, and the trainval list divided."""
        train, val = hold_out(self.read_list("trainval.txt"))
        return Split(train, val, self.read_list("test.txt"))

    def read_list(self, name: str) -> list[Item]:
        """Return the items of lines `<Breed>_<number> <class id from 1> <species> <breed id>`."""
        path = self.need(f"annotations/{name}")
        items = []
        for line in read_lines(path, "picture list"):
            picture, label, *_ = line.split() + ["", ""]
            breed = picture.rpartition("_")[0].lower()
            if not breed or not label.isdigit():
                raise DataError(
                    f"{path}: expected '<Breed>_<number> <class id> ...', found '{line}'"
                )
            items.append(Item(str(self.image_dir / f"{picture}.jpg"), int(label) - 1, breed))
        return items
