"""Food-101: 101 dishes."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from datasets.base import FolderPerClass


@DATASET_REGISTRY.register()
class Food101(FolderPerClass):
    """`food-101/images/<class>/*.jpg` (the family draws its own split and leaves meta/ alone)."""

    dataset_dir = "food-101"
    image_folder = "images"
    split_file = "split_zhou_Food101.json"
