"""ImageNet-R: renditions (paintings, toys, cartoons, ...)."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from datasets.imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetR(ImageNetVariant):
    """`imagenet-rendition/imagenet-r/<wnid>/*.jpg`, `imagenet-rendition/classnames.txt`; 200
    classes.
    """

    dataset_dir = "imagenet-rendition"
    image_folder = "imagenet-r"
