"""ImageNet-A: natural adversarial examples."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from datasets.imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetA(ImageNetVariant):
    """`imagenet-adversarial/imagenet-a/<wnid>/*.jpg`, `imagenet-adversarial/classnames.txt`; 200
    classes.
    """

    dataset_dir = "imagenet-adversarial"
    image_folder = "imagenet-a"
