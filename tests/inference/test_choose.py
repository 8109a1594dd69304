"""The mode of INFERENCE `calibrated`: the first, from cheap to dear, that agrees with `exact`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from loreal_plugin.inference.choose import (
    CHEAPEST_FIRST,
    choose_mode,
    read_chosen,
    resolve_calibrated,
    write_chosen,
)
from loreal_plugin.options import LorealOptions

N, C = 400, 6
OPTIONS = LorealOptions()


class Builder:
    """Modes whose classes differ from the exact ones on so many views; it notes what is built."""

    def __init__(self, folder: Path, wrong: dict[str, int]) -> None:
        self.wrong, self.built = wrong, []
        self.store = SimpleNamespace(folder=folder)
        self.owner = "a checkpoint"

    def calibration_owner(self, options: LorealOptions) -> dict[str, Any]:
        return {"of": self.owner, "shortlist_k": options.shortlist_k}

    def mode(self, options: LorealOptions, margin: float | None = None) -> Any:
        name = options.inference
        self.built.append(name)

        def logits(features: Tensor) -> Tensor:
            found = torch.nn.functional.one_hot(features[:, 0, 0].long() % C, C).float()
            spoilt = features[:, 0, 0] < self.wrong.get(name, 0)
            return torch.where(spoilt[:, None], found.roll(1, 1), found)

        return FakeMode(logits)


class FakeMode:
    """A mode that is a function of features."""

    def __init__(self, logits: Any) -> None:
        self.first = logits

    def __call__(self, features: Tensor) -> Tensor:
        return self.first(features)


def choose(builder: Builder, **more: Any) -> Any:
    views = torch.arange(N).float().reshape(N, 1, 1)
    return choose_mode(builder, OPTIONS, views, "views", say=lambda text: None, **more)


@pytest.mark.parametrize(
    ("wrong", "mode", "agreement"),
    [
        ({}, "static", 100.0),
        ({"static": 2}, "static", 99.5),
        ({"static": 3}, "tangent", 100.0),
        ({"static": 3, "tangent": 9, "auto": 1}, "auto", 99.75),
        ({"static": 3, "tangent": 9, "auto": 4}, "exact", 100.0),
    ],
)
def test_the_first_that_agrees_is_chosen(
    tmp_path: Path, wrong: dict[str, int], mode: str, agreement: float
) -> None:
    builder = Builder(tmp_path, wrong)
    found = choose(builder)
    assert (found.mode, found.agreement, found.views) == (mode, agreement, N)
    assert list(found.tried) == list(CHEAPEST_FIRST[: len(found.tried)])
    if mode == "static":
        assert builder.built == ["exact", "static"]  # no dearer table is made
    assert (found.margin is not None) == (mode == "auto")
    settings = resolve_calibrated(OPTIONS, found)
    assert settings.inference == mode
    assert settings.auto_margin == (found.margin if mode == "auto" else OPTIONS.auto_margin)


def test_the_target_decides(tmp_path: Path) -> None:
    builder = Builder(tmp_path, {"static": 40})
    assert choose(builder, target=0.9).mode == "static"
    assert choose(builder, target=0.91).mode == "tangent"


def test_a_choice_is_kept_for_its_checkpoint_and_settings_alone(tmp_path: Path) -> None:
    builder = Builder(tmp_path, {"static": 1})
    assert (
        read_chosen(builder, OPTIONS) is None
        and resolve_calibrated(OPTIONS, None).inference == "exact"
    )
    found = choose(builder)
    write_chosen(builder, OPTIONS, found)
    assert read_chosen(builder, OPTIONS) == found
    assert read_chosen(builder, replace(OPTIONS, shortlist_k=7)) is None
    builder.owner = "another checkpoint"
    assert read_chosen(builder, OPTIONS) is None
