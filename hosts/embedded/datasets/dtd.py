"""Describable Textures: 47 adjectives for textures."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from datasets.base import FolderPerClass


@DATASET_REGISTRY.register()
class DescribableTextures(FolderPerClass):
    """`dtd/images/<class>/*.jpg`."""

    dataset_dir = "dtd"
    image_folder = "images"
    split_file = "split_zhou_DescribableTextures.json"
