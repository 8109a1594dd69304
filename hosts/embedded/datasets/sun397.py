"""SUN397: 397 scenes."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from datasets._plugin import DataError, Item, Split, hold_out, read_lines
from datasets.base import FewShotDataset


def scene_name(folder: str) -> str:
    """Return "indoor apse" for "a/apse/indoor": without the letter, the qualifier in front."""
    return " ".join(reversed(folder.split("/")[1:]))


@DATASET_REGISTRY.register()
class SUN397(FewShotDataset):
    """`sun397/SUN397/<letter>/<class>[/<qualifier>]/*.jpg`, `ClassName.txt`,
    `{Training,Testing}_01.txt`.
    """

    dataset_dir = "sun397"
    image_folder = "SUN397"
    split_file = "split_zhou_SUN397.json"

    def draw(self) -> Split:
        """Return the published test part of the first partition, and its training part divided."""
        folders = [
            line.lstrip("/") for line in read_lines(self.need("ClassName.txt"), "class names")
        ]
        labels = {folder: label for label, folder in enumerate(folders)}
        train, val = hold_out(self.read_part("Training_01.txt", labels))
        return Split(train, val, self.read_part("Testing_01.txt", labels))

    def read_part(self, name: str, labels: dict[str, int]) -> list[Item]:
        """Return the items of lines `/<letter>/<class>/<picture>`."""
        path = self.need(name)
        items = []
        for line in read_lines(path, "picture list"):
            picture = line.lstrip("/")
            folder = picture.rpartition("/")[0]
            if folder not in labels:
                raise DataError(f"{path}: '{line}' is of a class that is not in ClassName.txt")
            items.append(Item(str(self.image_dir / picture), labels[folder], scene_name(folder)))
        return items
