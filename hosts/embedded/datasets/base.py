"""The base of this host's datasets: the family's layouts, loaded onto the host's `DatasetBase`."""

from __future__ import annotations

from dassl.data.datasets import DatasetBase, Datum

from datasets._plugin import FewShotMixin, Split, class_pictures, draw_split


class FewShotDataset(FewShotMixin, DatasetBase):
    """A dataset of the family; see `FewShotMixin` for what a subclass sets."""

    datum_class = Datum


class FolderPerClass(FewShotDataset):
    """A dataset that is published as a folder per class; its split (50/20/30 %) is drawn.

    Class attributes:
        ignored: folders that are no classes.
        renamed: class names by folder, where they differ.
    """

    ignored: tuple[str, ...] = ()
    renamed: dict[str, str] = {}

    def draw(self) -> Split:
        """Return the split drawn from the class folders."""
        return draw_split(class_pictures(self.image_dir, ignored=self.ignored, names=self.renamed))
