"""Transforms that torchvision does not have in this form.

Shape legend: tensors are (channels, height, width). All draw from PyTorch's generator.
"""

from __future__ import annotations

import torch
from PIL import Image
from torchvision.transforms import RandomCrop, Resize
from torchvision.transforms.functional import InterpolationMode


class Random2DTranslation:
    """Resize; with probability `p` to 9/8 of the size followed by a random crop to the size."""

    def __init__(
        self,
        height: int,
        width: int,
        p: float = 0.5,
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
    ) -> None:
        self.p = p
        self.plain = Resize((height, width), interpolation=interpolation)
        self.larger = Resize(
            (round(height * 1.125), round(width * 1.125)), interpolation=interpolation
        )
        self.crop = RandomCrop((height, width))

    def __call__(self, image: Image.Image) -> Image.Image:
        if torch.rand(()).item() > self.p:
            return self.plain(image)
        return self.crop(self.larger(image))


class Cutout:
    """Set `n_holes` squares of `length` pixels to zero; centred anywhere, clipped at the border."""

    def __init__(self, n_holes: int = 1, length: int = 16) -> None:
        self.n_holes = n_holes
        self.length = length

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        image = image.clone()
        half = self.length // 2
        for _ in range(self.n_holes):
            y, x = (int(torch.randint(size, ())) for size in image.shape[1:])
            image[:, max(y - half, 0) : y + half, max(x - half, 0) : x + half] = 0
        return image


class GaussianNoise:
    """With probability `p` add normal noise."""

    def __init__(self, mean: float = 0.0, std: float = 0.15, p: float = 0.5) -> None:
        self.mean = mean
        self.std = std
        self.p = p

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        if torch.rand(()).item() > self.p:
            return image
        return image + self.mean + self.std * torch.randn_like(image)


class InstanceNormalization:
    """Give each channel of each image mean 0 and standard deviation 1."""

    def __init__(self, eps: float = 1e-8) -> None:
        self.eps = eps

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        std, mean = torch.std_mean(image, dim=(1, 2), keepdim=True)
        return (image - mean) / (std + self.eps)
