"""From `cfg.INPUT` to a transform: a table of named steps in a fixed order.

The order in `INPUT.TRANSFORMS` does not matter, as in Dassl: geometry, then colour, then tensor
steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torchvision.transforms as T
from torchvision.transforms.functional import InterpolationMode
from yacs.config import CfgNode

from dassl._plugin import ConfigError
from dassl.utils import check_availability

from .extra import Cutout, GaussianNoise, InstanceNormalization, Random2DTranslation

# by the names that configurations use, which are torchvision's own
INTERPOLATION_MODES = {name: InterpolationMode(name) for name in ("bicubic", "bilinear", "nearest")}

# each step: the log line, then the transform
_Step = tuple[str, Any]
_StepMaker = Callable[[CfgNode, InterpolationMode], _Step]


def _color_jitter(i: CfgNode, mode: InterpolationMode) -> _Step:
    b, c, s, h = i.COLORJITTER_B, i.COLORJITTER_C, i.COLORJITTER_S, i.COLORJITTER_H
    line = f"color jitter (brightness={b}, contrast={c}, saturation={s}, hue={h})"
    return line, T.ColorJitter(brightness=b, contrast=c, saturation=s, hue=h)


def _random_resized_crop(i: CfgNode, mode: InterpolationMode) -> _Step:
    line = f"random resized crop (size={i.SIZE}, scale={i.RRCROP_SCALE})"
    return line, T.RandomResizedCrop(i.SIZE, scale=i.RRCROP_SCALE, interpolation=mode)


def _normalize(i: CfgNode, mode: InterpolationMode) -> _Step:
    line = f"normalization (mean={i.PIXEL_MEAN}, std={i.PIXEL_STD})"
    return line, T.Normalize(mean=i.PIXEL_MEAN, std=i.PIXEL_STD)


_ON_PICTURES: dict[str, _StepMaker] = {
    "random_translation": lambda i, mode: ("random translation", Random2DTranslation(*i.SIZE)),
    "random_crop": lambda i, mode: (
        f"random crop (padding = {i.CROP_PADDING})",
        T.RandomCrop(i.SIZE, padding=i.CROP_PADDING),
    ),
    "random_resized_crop": _random_resized_crop,
    "random_flip": lambda i, mode: ("random flip", T.RandomHorizontalFlip()),
    "colorjitter": _color_jitter,
    "randomgrayscale": lambda i, mode: ("random gray scale", T.RandomGrayscale(p=i.RGS_P)),
    "gaussian_blur": lambda i, mode: (
        f"gaussian blur (kernel={i.GB_K})",
        T.RandomApply([T.GaussianBlur(i.GB_K)], p=i.GB_P),
    ),
}
_ON_TENSORS: dict[str, _StepMaker] = {
    "cutout": lambda i, mode: (
        f"cutout (n_holes={i.CUTOUT_N}, length={i.CUTOUT_LEN})",
        Cutout(i.CUTOUT_N, i.CUTOUT_LEN),
    ),
    "normalize": _normalize,
    "gaussian_noise": lambda i, mode: (
        f"gaussian noise (mean={i.GN_MEAN}, std={i.GN_STD})",
        GaussianNoise(i.GN_MEAN, i.GN_STD),
    ),
    "instance_norm": lambda i, mode: ("instance normalization", InstanceNormalization()),
}
_AT_TEST = ("normalize", "instance_norm")  # the others are augmentation
_NO_STEP = ("center_crop",)  # always done at test
_NOT_HERE = (
    "imagenet_policy",
    "cifar10_policy",
    "svhn_policy",
    "randaugment",
    "randaugment_fixmatch",
    "randaugment2",
)

CHOICES = (*_ON_PICTURES, *_ON_TENSORS, *_NO_STEP)


def build_transform(
    cfg: CfgNode, is_train: bool = True, choices: Sequence[str] | None = None
) -> T.Compose | None:
    """Return the transform from a PIL image to a tensor (3, height, width), or None with
    INPUT.NO_TRANSFORM.

    `choices` replaces `cfg.INPUT.TRANSFORMS`.

    Raises:
        ConfigError: for an unknown name, or one of Dassl's learned augmentation policies, which are
            not here.
    """
    if cfg.INPUT.NO_TRANSFORM:
        print("Note: no transform is applied!")
        return None
    choices = cfg.INPUT.TRANSFORMS if choices is None else choices
    _check(choices)
    check_availability(cfg.INPUT.INTERPOLATION, list(INTERPOLATION_MODES), kind="interpolation")
    print(f"Building transform_{'train' if is_train else 'test'}")
    steps = _train_steps(cfg.INPUT, choices) if is_train else _test_steps(cfg.INPUT, choices)
    for line, _ in steps:
        print(f"+ {line}")
    return T.Compose([step for _, step in steps])


def _check(choices: Sequence[str]) -> None:
    """Raise ConfigError unless every name can be built."""
    for choice in choices:
        if choice in _NOT_HERE:
            raise ConfigError(
                f"transform '{choice}' is not part of the embedded host; take it out of"
                " INPUT.TRANSFORMS or use a host with the original Dassl"
            )
        check_availability(choice, CHOICES, kind="transform")


def _chosen(table: dict[str, _StepMaker], i: CfgNode, choices: Sequence[str]) -> list[_Step]:
    """Return the chosen steps in the order of the table."""
    mode = INTERPOLATION_MODES[i.INTERPOLATION]
    return [make(i, mode) for name, make in table.items() if name in choices]


def _to_tensor() -> list[_Step]:
    return [("to torch tensor of range [0, 1]", T.ToTensor())]


def _train_steps(i: CfgNode, choices: Sequence[str]) -> list[_Step]:
    """Return the steps of training; without a crop to the size the picture is resized to it."""
    steps: list[_Step] = []
    if "random_crop" not in choices and "random_resized_crop" not in choices:
        resize = T.Resize(i.SIZE, interpolation=INTERPOLATION_MODES[i.INTERPOLATION])
        steps.append((f"resize to {i.SIZE[0]}x{i.SIZE[1]}", resize))
    return (
        steps + _chosen(_ON_PICTURES, i, choices) + _to_tensor() + _chosen(_ON_TENSORS, i, choices)
    )


def _test_steps(i: CfgNode, choices: Sequence[str]) -> list[_Step]:
    """Return the steps of testing: smaller edge to the size, centre crop."""
    edge, mode = max(i.SIZE), INTERPOLATION_MODES[i.INTERPOLATION]
    steps: list[_Step] = [
        (f"resize the smaller edge to {edge}", T.Resize(edge, interpolation=mode)),
        (f"{i.SIZE[0]}x{i.SIZE[1]} center crop", T.CenterCrop(i.SIZE)),
    ]
    kept = [name for name in choices if name in _AT_TEST]
    return steps + _to_tensor() + _chosen(_ON_TENSORS, i, kept)
