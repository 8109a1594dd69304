"""Caltech-101: photographs of 100 kinds of objects."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from datasets.base import FolderPerClass


@DATASET_REGISTRY.register()
class Caltech101(FolderPerClass):
    """`caltech-101/101_ObjectCategories/<class>/*.jpg`, without clutter and the second Faces."""

    dataset_dir = "caltech-101"
    image_folder = "101_ObjectCategories"
    split_file = "split_zhou_Caltech101.json"
    ignored = ("BACKGROUND_Google", "Faces_easy")
    renamed = {
        "airplanes": "airplane",
        "Faces": "face",
        "Leopards": "leopard",
        "Motorbikes": "motorbike",
    }
