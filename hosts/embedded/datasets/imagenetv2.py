"""ImageNetV2, matched frequency: a second test part for ImageNet."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from datasets._plugin import Item, Split, pictures_in
from datasets.imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetV2(ImageNetVariant):
    """`imagenetv2/imagenetv2-matched-frequency-format-val/<label>/*.jpeg`,
    `imagenetv2/classnames.txt`.

    Folders are numbers here: line n of `classnames.txt`, counted from 0, names folder n.
    """

    dataset_dir = "imagenetv2"
    image_folder = "imagenetv2-matched-frequency-format-val"

    def draw(self) -> Split:
        """Return all pictures, as train and as test."""
        items = []
        for label, name in enumerate(self.read_names().values()):
            folder = self.need(f"{self.image_folder}/{label}")
            items += [Item(path, label, name) for path in pictures_in(folder)]
        return Split(items, [], items)
