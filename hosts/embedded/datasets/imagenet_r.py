"""ImageNet-R: renditions (paintings, toys, cartoons, ...)."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from datasets.imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetR(ImageNetVariant):
    """200 classes: `imagenet-rendition/imagenet-r/<wnid>/*.jpg`, with `../classnames.txt`."""

    dataset_dir = "imagenet-rendition"
    image_folder = "imagenet-r"
