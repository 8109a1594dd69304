"""Augmented views of training pictures at two resolutions, as the host's transform gives them.

A view is a box and a flip, drawn once per (seed, image, view number). For each student PIL resizes
the original pixels: the low-resolution view is no shrunken copy of the standard one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from loreal_plugin.errors import ConfigError
from loreal_plugin.pictures import read_picture

# What `INPUT.TRANSFORMS` may hold: everything else draws numbers that a paired view cannot share,
# or changes pixels in a way that depends on the resolution. "center_crop" is a no-op in the hosts'
# training transform.
REPRODUCIBLE = ("random_resized_crop", "random_flip", "normalize", "center_crop")
RATIO = (3.0 / 4.0, 4.0 / 3.0)  # torchvision's default, which the hosts use
# torchvision's default, which older Dasslses, without a key for it, crop with
_USUAL_SCALE = (0.08, 1.0)
INTERPOLATIONS = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "nearest": InterpolationMode.NEAREST,
}


@dataclass(frozen=True)
class View:
    """A crop of the original picture, in its pixels, and whether it is mirrored."""

    top: int
    left: int
    height: int
    width: int
    flip: bool


@dataclass(frozen=True)
class ViewRecipe:
    """The random part of a host's training transform, and how pixels become numbers."""

    scale: tuple[float, float] | None
    flip: bool
    interpolation: str
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    def fingerprint(self) -> dict[str, Any]:
        """Return the recipe as plain values, for cache keys."""
        return asdict(self)


def build_recipe(cfg: Any) -> ViewRecipe:
    """Return the recipe of a host config's training transform.

    Raises:
        ConfigError: the transform has a part that paired views cannot reproduce, or the input is
            not square.
    """
    names = list(cfg.INPUT.TRANSFORMS)
    other = [name for name in names if name not in REPRODUCIBLE]
    if cfg.INPUT.NO_TRANSFORM or other:
        what = "NO_TRANSFORM" if cfg.INPUT.NO_TRANSFORM else f"TRANSFORMS {', '.join(other)}"
        raise ConfigError(
            f"INPUT.{what} cannot be drawn once for two resolutions; "
            f"LOREAL reproduces {', '.join(REPRODUCIBLE[:3])}"
        )
    if cfg.INPUT.SIZE[0] != cfg.INPUT.SIZE[1]:
        raise ConfigError(f"INPUT.SIZE {tuple(cfg.INPUT.SIZE)} is not square; give one side twice")
    if cfg.INPUT.INTERPOLATION not in INTERPOLATIONS:
        known = ", ".join(INTERPOLATIONS)
        raise ConfigError(f"INPUT.INTERPOLATION {cfg.INPUT.INTERPOLATION} is none of {known}")
    crop, normalise = "random_resized_crop" in names, "normalize" in names
    return ViewRecipe(
        scale=_pair(cfg.INPUT.get("RRCROP_SCALE", _USUAL_SCALE)) if crop else None,
        flip="random_flip" in names,
        interpolation=cfg.INPUT.INTERPOLATION,
        mean=tuple(float(m) for m in cfg.INPUT.PIXEL_MEAN) if normalise else None,
        std=tuple(float(s) for s in cfg.INPUT.PIXEL_STD) if normalise else None,
    )


def _pair(values: Sequence[float]) -> tuple[float, float]:
    low, high = values
    return float(low), float(high)


def view_generator(seed: int, index: int, number: int, stream: int = 0) -> torch.Generator:
    """Return the generator of one view: a function of its four numbers, on any machine."""
    # torch's generators are alike for seeds that are near each other: the four numbers are hashed
    digest = hashlib.sha256(f"view/{seed}/{index}/{number}/{stream}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def draw_view(width: int, height: int, recipe: ViewRecipe, generator: torch.Generator) -> View:
    """Return a view of a picture of `width` x `height` pixels.

    Draws in the order of torchvision's `RandomResizedCrop` and `RandomHorizontalFlip`, so that an
    equally seeded generator gives the box these would take.
    """
    top, left, box_height, box_width = 0, 0, height, width
    if recipe.scale is not None:
        top, left, box_height, box_width = _draw_box(width, height, recipe.scale, generator)
    flip = recipe.flip and bool(torch.rand(1, generator=generator) < 0.5)
    return View(top, left, box_height, box_width, flip)


def render_view(image: Image.Image, view: View, size: int, recipe: ViewRecipe) -> Tensor:
    """Return the view as a (3, size, size) tensor, resized from the picture's own pixels."""
    pixels = TF.to_tensor(render_picture(image, view, size, recipe))
    return pixels if recipe.mean is None else TF.normalize(pixels, recipe.mean, recipe.std)


def render_picture(image: Image.Image, view: View, size: int, recipe: ViewRecipe) -> Image.Image:
    """Return the view as a picture of `size` x `size`, resized from the picture's own pixels."""
    mode = INTERPOLATIONS[recipe.interpolation]
    # from the picture's own pixels at every size: resizing the large view again would blur twice,
    # and the small one would not be what the host's transform gives at phi
    picture = TF.resized_crop(
        image, view.top, view.left, view.height, view.width, [size, size], interpolation=mode
    )
    return TF.hflip(picture) if view.flip else picture


def as_input(pixels: Tensor, recipe: ViewRecipe) -> Tensor:
    """Return 8-bit pixels (B, 3, S, S) as the numbers that `render_view` gives."""
    values = pixels.float().div(255)
    return values if recipe.mean is None else TF.normalize(values, recipe.mean, recipe.std)


class PairedViews(Dataset):
    """Training pictures as `{"img", "img_low", "label", "index", "view"}`.

    A pass over them gives one view of each, see `set_view`. With `independent` the low-resolution
    view takes a crop of its own (the authors' loader crops twice).
    """

    def __init__(
        self,
        items: Sequence[Any],
        sizes: tuple[int, int],
        recipe: ViewRecipe,
        seed: int,
        independent: bool = False,
    ) -> None:
        self.items, self.sizes, self.recipe, self.seed = list(items), sizes, recipe, seed
        self.independent = independent
        self.number = 0

    def __len__(self) -> int:
        return len(self.items)

    def set_view(self, number: int) -> None:
        """Choose the view that the next pass over the pictures gives."""
        self.number = number

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.items[index]
        image = read_picture(item.impath)
        # the same stream for both sizes draws the same box twice; another one a box of its own
        views = [
            draw_view(
                *image.size, self.recipe, view_generator(self.seed, index, self.number, stream)
            )
            for stream in (0, 1 if self.independent else 0)
        ]
        img, img_low = (
            render_view(image, v, s, self.recipe) for v, s in zip(views, self.sizes, strict=True)
        )
        return {
            "img": img,
            "img_low": img_low,
            "label": item.label,
            "index": index,
            "view": self.number,
        }


class StudentViews(Dataset):
    """All views of a picture for one student, `(V, 3, size, size)`, and the picture's index."""

    def __init__(
        self,
        items: Sequence[Any],
        size: int,
        n_views: int,
        recipe: ViewRecipe,
        seed: int,
        stream: int = 0,
    ) -> None:
        self.items, self.size, self.n_views, self.recipe = list(items), size, n_views, recipe
        self.seed, self.stream = seed, stream

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = read_picture(self.items[index].impath)
        views = [
            draw_view(
                *image.size, self.recipe, view_generator(self.seed, index, number, self.stream)
            )
            for number in range(self.n_views)
        ]
        return torch.stack([render_view(image, v, self.size, self.recipe) for v in views]), index


def _draw_box(
    width: int, height: int, scale: tuple[float, float], generator: torch.Generator
) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of a random box; if none fits in ten tries, of the centre.

    The numbers are drawn as torchvision's `RandomResizedCrop` draws them.
    """
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    for _ in range(10):
        area = height * width * torch.empty(1).uniform_(*scale, generator=generator).item()
        ratio = math.exp(torch.empty(1).uniform_(low, high, generator=generator).item())
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(0, height - h + 1, (1,), generator=generator))
            left = int(torch.randint(0, width - w + 1, (1,), generator=generator))
            return top, left, h, w
    aspect = width / height
    if aspect < RATIO[0]:
        w, h = width, round(width / RATIO[0])
    elif aspect > RATIO[1]:
        w, h = round(height * RATIO[1]), height
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w
