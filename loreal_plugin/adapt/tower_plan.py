"""What an adapted CLIP is made of, and whether that can be made.

The plan of `loreal adapt`: its checks, its key, the note beside what it wrote.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from loreal_plugin.adapt.settings import AdaptSettings
from loreal_plugin.adapt.tar_pictures import Source, identity_of
from loreal_plugin.errors import ConfigError, unknown_name
from loreal_plugin.files import digest, digest_file, read_checked
from loreal_plugin.weights import clip_sizes, weights_fingerprint
from loreal_plugin.weights.positions import grid_size_of
from loreal_plugin.weights.write import OPENAI

KINDS = ("positions", "patch", "lora", "patch_lora")
PRECISIONS = {"auto": None, "fp32": None, "bf16": torch.bfloat16}
VERSION = 1  # raise it with any change after which the same command gives other weights


@dataclass(frozen=True)
class TowerPlan:
    """What is made of what.

    Attributes:
        weights: CLIP weights, a name or a file.
        phi: side of the small pictures, pixels.
        pictures: a folder of pictures of any kind, or of tar files of them (WebDataset).
        out: the file, or the folder of layouts `hf` and `open_clip`.
        layout: one of `loreal_plugin.weights.write.FORMATS`.
        settings: how the pupil trains.
        crop: least share of a picture that a view shows.
        accumulate: parts in which a batch is computed, for less memory.
        precision: `fp32`, `bf16` (autocast), or `auto`: bf16 on CUDA devices that have it.
        keep_targets: keep what the teacher says in the cache, for further passes and trainings.
        smaller: further sizes that the same pupil reads, all below phi.
    """

    weights: str
    phi: int
    pictures: Path
    out: Path
    layout: str = OPENAI
    settings: AdaptSettings = field(default_factory=AdaptSettings)
    crop: float = 0.5
    accumulate: int = 1
    precision: str = "auto"
    keep_targets: bool = False
    smaller: tuple[int, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the sizes of the pupil's pictures, pixels; the largest first."""
        return (self.phi, *self.smaller)

    @property
    def note(self) -> Path:
        """Return the file beside `out` that says what it was made of."""
        return self.out.with_name(f"{self.out.name}.adapted.json")

    @property
    def work(self) -> Path:
        """Return the folder of checkpoints; it is removed at the end."""
        return self.out.with_name(f"{self.out.name}.parts")

    @property
    def half(self) -> torch.dtype | None:
        """Return the 16-bit type of autocast, None: 32 bits."""
        able = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if self.precision == "auto" and able else PRECISIONS[self.precision]


def read_sizes(text: str) -> list[int]:
    """Return the sizes of `--phi`, the largest first: `96`, or several as in `96,144,192`.

    Raises:
        ConfigError: a part is no whole number.
    """
    try:
        return sorted({int(part) for part in text.split(",")}, reverse=True)
    except ValueError as error:
        raise ConfigError(
            f"--phi {text} was asked for; give one size in pixels, or several: 96,144,192"
        ) from error


def check_settings(plan: TowerPlan) -> None:
    """Raise ConfigError for a setting with which nothing can be trained."""
    s = plan.settings
    if s.kind not in KINDS:
        raise ConfigError(unknown_name("--kind", s.kind, KINDS))
    if plan.precision not in PRECISIONS:
        raise ConfigError(unknown_name("--precision", plan.precision, PRECISIONS))
    least = {"rank": s.rank, "views": s.views, "epochs": s.epochs, "batch": s.batch}
    for name, value in {**least, "accumulate": plan.accumulate}.items():
        if value < 1:
            raise ConfigError(f"--{name} {value} was asked for; it must be 1 or more")
    if not (math.isfinite(s.lr) and s.lr > 0):
        raise ConfigError(f"--lr {s.lr} was asked for; it must be a number above 0")
    if not 0 < plan.crop <= 1:
        raise ConfigError(f"--crop {plan.crop} was asked for; it must lie between 0 and 1")


def check_size(plan: TowerPlan) -> None:
    """Raise ConfigError where phi or the rank does not fit the weights."""
    sizes = clip_sizes(plan.weights)
    native = sizes["resolution"]
    if plan.phi >= native:
        raise ConfigError(
            f"--phi {plan.phi} is not below {native}, the native size of the CLIP weights"
            f" '{plan.weights}', which see that well already; choose one below {native}"
        )
    for size in plan.sizes:
        grid_size_of(size, sizes["patch"], "--phi")
    if "lora" in plan.settings.kind and plan.settings.rank > sizes["width"]:
        raise ConfigError(
            f"--rank {plan.settings.rank} was asked for; this image encoder allows 1 to"
            f" {sizes['width']}"
        )


def key_of(plan: TowerPlan, files: list[Source]) -> str:
    """Return what decides about the result: weights, pictures by name and size, settings."""
    root = plan.pictures.expanduser()
    pictures = [identity_of(file, root) for file in files]
    what = [plan.phi, plan.settings.facts(), plan.crop, plan.precision, plan.layout]
    what += [list(plan.smaller)] if plan.smaller else []
    return digest([VERSION, weights_fingerprint(plan.weights), digest(pictures), *what])


def complete_note(plan: TowerPlan, key: str) -> dict[str, Any] | None:
    """Return the note of a CLIP that is there; None: there is none.

    Raises:
        ConfigError: something else is in its place.
    """
    note, _ = read_checked(plan.note)
    if not plan.out.exists():
        return None
    file = plan.out.parent / note.get("file", "?")
    if note.get("key") == key and file.is_file() and digest_file(file) == note["sha256"]:
        return note
    if plan.layout != OPENAI and not any(plan.out.iterdir()):
        return None
    raise ConfigError(
        f"{plan.out} is there, and was made with other weights, pictures or settings, or was"
        " changed; remove it, or choose another --out"
    )
