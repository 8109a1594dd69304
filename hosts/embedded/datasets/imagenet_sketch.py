"""ImageNet-Sketch: black and white sketches."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from datasets.imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetSketch(ImageNetVariant):
    """`imagenet-sketch/images/<wnid>/*.JPEG`, `imagenet-sketch/classnames.txt`; 1000 classes."""

    dataset_dir = "imagenet-sketch"
    image_folder = "images"
