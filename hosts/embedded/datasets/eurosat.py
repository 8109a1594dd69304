"""EuroSAT: 10 kinds of land use seen from a satellite."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from datasets.base import FolderPerClass


@DATASET_REGISTRY.register()
class EuroSAT(FolderPerClass):
    """`eurosat/2750/<class>/*.jpg`, with readable class names."""

    dataset_dir = "eurosat"
    image_folder = "2750"
    split_file = "split_zhou_EuroSAT.json"
    # facts, from the table of the public CoOp repository: prompts are made of these names
    renamed = {
        "AnnualCrop": "Annual Crop Land",
        "HerbaceousVegetation": "Herbaceous Vegetation Land",
        "Highway": "Highway or Road",
        "Industrial": "Industrial Buildings",
        "Pasture": "Pasture Land",
        "PermanentCrop": "Permanent Crop Land",
        "Residential": "Residential Buildings",
        "SeaLake": "Sea or Lake",
    }
