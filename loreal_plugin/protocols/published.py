"""The paper's LR-B2N numbers (LOREAL, CVPR 2026), shown only beside runs that they can be compared with."""

from __future__ import annotations

from dataclasses import dataclass

PUBLISHED_PHI = 96
PUBLISHED_RECIPE = "vit_b16"
# the paper's average is over these eleven, with ViT-B/16
BENCHMARKS = frozenset(
    {
        "imagenet",
        "caltech101",
        "oxford_pets",
        "stanford_cars",
        "oxford_flowers",
        "food101",
        "fgvc_aircraft",
        "sun397",
        "dtd",
        "eurosat",
        "ucf101",
    }
)


@dataclass(frozen=True)
class Published:
    """Average over eleven datasets at phi 96: the host's Base, New, HM, and HM with LOREAL."""

    base: float
    new: float
    hm: float
    loreal_hm: float


PUBLISHED = {
    "coop": Published(38.40, 33.74, 35.54, 47.48),
    "maple": Published(37.17, 33.71, 34.85, 57.25),
    "mma": Published(41.55, 39.91, 40.50, 63.14),
    "mmrl": Published(41.64, 36.92, 38.90, 61.71),
}


def published_note(method: str, phi: int, dataset: str, recipe: str) -> str:
    """Return the published averages as one sentence, empty for a run that they say nothing about.

    Args:
        recipe: of the run; the published one is for ViT-B/16.
    """
    if phi != PUBLISHED_PHI or dataset not in BENCHMARKS or method not in PUBLISHED or recipe != PUBLISHED_RECIPE:
        return ""
    row = PUBLISHED[method]
    return (
        f"Published, average of 11 datasets at phi {phi} (ViT-B/16): Base {row.base:.2f}, New {row.new:.2f}, "
        f"HM {row.hm:.2f}, with LOREAL HM {row.loreal_hm:.2f}; whether the host was trained at 224 or at {phi} is "
        "not stated, so compare with both rows."
    )
