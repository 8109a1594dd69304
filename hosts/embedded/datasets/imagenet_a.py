"""ImageNet-A: natural adversarial examples."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from datasets.imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetA(ImageNetVariant):
    """200 classes: `imagenet-adversarial/imagenet-a/<wnid>/*.jpg`, with `../classnames.txt`."""

    dataset_dir = "imagenet-adversarial"
    image_folder = "imagenet-a"
