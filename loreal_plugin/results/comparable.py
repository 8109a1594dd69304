"""Whether measured rows stand in the paper's setting, and what of a dataset they were tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loreal_plugin.results.group import Group
from loreal_plugin.results.layout import shots_text, weights_text
from loreal_plugin.results.protocols import BASE2NEW, PROTOCOLS, TARGET
from loreal_plugin.results.published import PUBLISHED_SHOTS, not_comparable, of_the_paper

PAPER_PRESET = "loreal TRAINER.LOREAL.PRESET paper"


@dataclass(frozen=True)
class Parts:
    """Pictures in the val and test parts of the family's split."""

    val: int
    test: int


# as `loreal_plugin/download/sources.json` has them, which a test compares
PARTS = {
    "caltech101": Parts(1649, 2465),
    "dtd": Parts(1128, 1692),
    "eurosat": Parts(5400, 8100),
    "food101": Parts(20200, 30300),
    "oxford_flowers": Parts(1633, 2463),
    "oxford_pets": Parts(736, 3669),
    "stanford_cars": Parts(1635, 8041),
    "sun397": Parts(3970, 19850),
    "ucf101": Parts(1898, 3783),
    "fgvc_aircraft": Parts(3333, 3333),
    "imagenet": Parts(50000, 50000),
    "imagenetv2": Parts(0, 10000),
    "imagenet_sketch": Parts(0, 50889),
    "imagenet_a": Parts(0, 7500),
    "imagenet_r": Parts(0, 30000),
}
EITHER = "test, or val, which is as large"


def tested_part(dataset: str, pictures: int) -> str:
    """Return which part of a benchmark has so many pictures: `test`, `val`, `neither`; "" for a
    dataset that is none.
    """
    parts = PARTS.get(dataset)
    if parts is None:
        return ""
    if pictures == parts.test == parts.val:
        return EITHER
    return {parts.test: "test", parts.val: "val"}.get(pictures, "neither")


def tested_pictures(groups: Sequence[Group]) -> dict[str, int]:
    """Return how many pictures each dataset was tested on, by name; halves count together."""
    found: dict[str, int] = {}
    for group in groups:
        scores = group.results[0].scores
        if group.setting.protocol == BASE2NEW.name:
            found[group.setting.dataset] = sum(score.total for score in scores.values())
        else:
            found |= {name: score.total for name, score in scores.items()}
    return found


def judged_datasets(groups: Sequence[Group]) -> frozenset[str]:
    """Return the datasets that an average is over: the targets where there are any."""
    if not groups or not PROTOCOLS[groups[0].setting.protocol].across:
        return frozenset(group.setting.dataset for group in groups)
    roles = groups[0].results[0].roles
    return frozenset(name for name in roles if roles[name] == TARGET)


def why_not(groups: Sequence[Group]) -> str:
    """Return why the published averages say nothing about these rows, "" where the setting is the
    paper's.

    Args:
        groups: rows of one protocol, phi, weights and recipe, of one or several datasets.
    """
    if not groups:
        return ""
    setting, judged = groups[0].setting, judged_datasets(groups)
    reason = not_comparable(setting.protocol, judged, setting.recipe)
    if reason.startswith("demo"):
        return reason
    reasons = [reason] if reason else []
    if not of_the_paper(setting.weights):
        reasons.append(f"weights {weights_text(setting.weights)}")
    if setting.shots != PUBLISHED_SHOTS:
        reasons.append(shots_text(setting.shots))
    others = [text for text in setting.overrides if text != PAPER_PRESET]
    reasons += [f"{len(others)} changed keys"] if others else []
    tested = {n: size for n, size in tested_pictures(groups).items() if n in judged & PARTS.keys()}
    wrong = [name for name, size in tested.items() if PARTS[name].test != size]
    reasons += [f"other test pictures of {len(wrong)}"] if wrong else []
    return ", ".join(reasons)
