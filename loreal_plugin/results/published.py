"""The paper's numbers (LOREAL, CVPR 2026): averages of LR-B2N, LR-CE and LR-DG, and where they can
be compared with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loreal_plugin.results.protocols import BASE2NEW, DG, XD

PUBLISHED_PHI = 96
PUBLISHED_RECIPE = "vit_b16"
PUBLISHED_WEIGHTS = ("ViT-B/16", "ViT-B-16.pt")  # by name, and the file that OpenAI gives
PUBLISHED_SHOTS = 16
# the paper's average is over these eleven, with ViT-B/16
BENCHMARKS = frozenset({"imagenet", *XD.known_targets["imagenet"]})


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


# phi -> (host, with LOREAL): HM averaged over the eleven, from the paper's table of costs
HM_AVERAGES = {
    "maple": {144: (68.80, 73.72)},
    "mmrl": {144: (72.43, 76.56)},
}


def published_note(method: str, phi: int, dataset: str, recipe: str, weights: str) -> str:
    """Return the published averages as one sentence, empty for a run that they say nothing about.

    Args:
        recipe: of the run; the published one is for ViT-B/16.
        weights: of the run, by name or file.
    """
    if (
        phi != PUBLISHED_PHI
        or dataset not in BENCHMARKS
        or method not in PUBLISHED
        or recipe != PUBLISHED_RECIPE
        or not of_the_paper(weights)
    ):
        return ""
    row = PUBLISHED[method]
    return (
        f"Published, average of 11 datasets at phi {phi} (ViT-B/16): Base {row.base:.2f}, New"
        f" {row.new:.2f}, HM {row.hm:.2f}, with LOREAL HM {row.loreal_hm:.2f}; whether the host was"
        f" trained at 224 or at {phi} is not stated, so compare with both rows."
    )


def of_the_paper(weights: str) -> bool:
    """Return whether weights are those of the paper, by their name or the name of their file."""
    return weights in PUBLISHED_WEIGHTS or Path(weights).name == PUBLISHED_WEIGHTS[1]


# phi -> (host, with LOREAL): accuracy in percent, averaged over the ten targets of LR-CE and the
# four of LR-DG
TARGET_AVERAGES: dict[str, dict[str, dict[int, tuple[float, float]]]] = {
    XD.name: {
        "coop": {96: (31.72, 45.77), 144: (63.10, 69.78), 192: (69.20, 74.67)},
        "maple": {96: (36.07, 52.77), 144: (64.02, 72.61), 192: (69.61, 77.19)},
        "mma": {96: (37.27, 54.66), 144: (65.32, 72.99), 192: (72.28, 76.81)},
        "mmrl": {96: (40.77, 55.08), 144: (69.71, 74.12), 192: (75.30, 79.14)},
    },
    DG.name: {
        "coop": {96: (15.02, 23.27), 144: (43.87, 48.32), 192: (53.16, 55.93)},
        "maple": {96: (10.56, 26.86), 144: (41.56, 48.42), 192: (52.59, 54.78)},
        "mma": {96: (14.47, 25.52), 144: (43.69, 47.35), 192: (53.18, 54.16)},
        "mmrl": {96: (15.42, 30.64), 144: (47.34, 50.53), 192: (57.37, 58.47)},
    },
}
# what the averages are over
PUBLISHED_ON = {
    BASE2NEW.name: BENCHMARKS,
    XD.name: frozenset(XD.known_targets["imagenet"]),
    DG.name: frozenset(DG.known_targets["imagenet"]),
}


@dataclass(frozen=True)
class Cost:
    """Published cost of a host, and what LOREAL adds: parameters in thousands, ms a picture, MB at
    inference.
    """

    parameters: float
    train_ms: float
    test_ms: float
    memory_mb: float
    added: tuple[float, float, float, float]


COSTS = {
    ("maple", 96): Cost(3555, 107, 32, 612, (104.5, 4, 1, 33)),
    ("mmrl", 96): Cost(4992, 113, 29, 1236, (104.5, 5, 1, 33)),
    ("maple", 144): Cost(3555, 126, 38, 844, (104.5, 4, 2, 33)),
    ("mmrl", 144): Cost(4992, 145, 37, 1440, (104.5, 5, 1, 33)),
}


def published_average(protocol: str, method: str, phi: int, row: str) -> float | None:
    """Return the published HM (`base2new`) or target average of a host at phi or of LOREAL, None
    where there is none.

    Args:
        row: `phi` or `native_at_phi` for the host (the paper does not say which of the two it is),
            or `loreal`.
    """
    if row not in ("native_at_phi", "phi", "loreal"):
        return None
    if protocol == BASE2NEW.name and phi == PUBLISHED_PHI:
        found = PUBLISHED.get(method)
        return (found.loreal_hm if row == "loreal" else found.hm) if found else None
    averages = HM_AVERAGES if protocol == BASE2NEW.name else TARGET_AVERAGES.get(protocol, {})
    pair = averages.get(method, {}).get(phi)
    return pair[row == "loreal"] if pair else None


def not_comparable(protocol: str, datasets: frozenset[str], recipe: str) -> str:
    """Return why the published averages say nothing about these runs, "" where the setting is
    theirs.

    Args:
        datasets: of `base2new` all that were averaged; else the targets.
    """
    if recipe != PUBLISHED_RECIPE:
        return "demo" if recipe.startswith("demo") else f"recipe {recipe}"
    wanted = PUBLISHED_ON.get(protocol)
    if wanted is None:
        return "no published average"
    if datasets == wanted:
        return ""
    return f"{len(datasets & wanted)} of {len(wanted)} datasets" + (
        " and others" if datasets - wanted else ""
    )
