"""FGVC-Aircraft: 100 variants of aircraft."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from datasets._plugin import DataError, Item, Split, read_lines
from datasets.base import FewShotDataset


@DATASET_REGISTRY.register()
class FGVCAircraft(FewShotDataset):
    """`fgvc_aircraft/images/*.jpg`, `variants.txt`, `images_variant_{train,val,test}.txt`."""

    dataset_dir = "fgvc_aircraft"
    image_folder = "images"

    def draw(self) -> Split:
        """Return the published parts."""
        variants = read_lines(self.need("variants.txt"), "class names")
        labels = {variant: label for label, variant in enumerate(variants)}
        return Split(*(self.read_part(part, labels) for part in Split._fields))

    def read_part(self, part: str, labels: dict[str, int]) -> list[Item]:
        """Return the items of lines `<picture number> <variant>`."""
        path = self.need(f"images_variant_{part}.txt")
        items = []
        for line in read_lines(path, "picture list"):
            picture, _, variant = line.partition(" ")
            if variant not in labels:
                raise DataError(f"{path}: '{line}' names a variant that is not in variants.txt")
            items.append(Item(str(self.image_dir / f"{picture}.jpg"), labels[variant], variant))
        return items
