"""The cost of a step of the adaptation: variants differ in what they compute, and all are told."""

from __future__ import annotations

import argparse

import pytest
import torch

from benchmarks.adapt_cost import ENCODER, KINDS, VARIANTS, build, call_of, main, table
from loreal_plugin.adapt.tower import Tower
from loreal_plugin.attach import detach_host

WORDS = {"method": "coop", "phi": 32, "batch": 2, "device": "cpu", "half": "", "size": "tiny"}


@pytest.fixture(autouse=True)
def attached() -> object:
    """Let no host of another test be attached, and leave none."""
    detach_host()
    yield
    detach_host()


def test_a_step_encodes_alpha_only_where_targets_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    models = build(argparse.Namespace(**WORDS))
    calls = {name: call_of(models, name, "") for name in VARIANTS}
    sizes: list[int] = []
    encode = Tower.encode

    def counted(tower: Tower, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sizes.append(images.shape[-1])
        return encode(tower, images)

    monkeypatch.setattr(Tower, "encode", counted)
    seen = {}
    for name, call in calls.items():
        call()  # the first one also makes the spread of alpha's tokens
        sizes.clear()
        call()
        seen[name] = list(sizes)
    native = models.size.native
    for kind in KINDS:
        assert seen[kind] == [32] and seen[f"{kind}, with targets"] == [native, 32]
    assert seen[ENCODER] == []  # it is the student's own


def test_a_step_trains_and_the_process_of_one_variant_tells_its_peak(
    capsys: pytest.CaptureFixture[str],
) -> None:
    models = build(argparse.Namespace(**WORDS))
    step = call_of(models, "patch", "")
    losses = [float(step()) for _ in range(8)]
    assert losses[-1] < losses[0]
    detach_host()
    words = [part for name, value in WORDS.items() if value for part in (f"--{name}", f"{value}")]
    main(["--one", "patch_lora", *words])
    assert '"peak_mib"' in capsys.readouterr().out
    found = {
        "seconds": dict.fromkeys(VARIANTS, 2.0),
        "peak_mib": dict.fromkeys(VARIANTS, 100.0),
        "rounds": 3,
        "load": 0.0,
    }
    shown = table(argparse.Namespace(**WORDS), found)
    assert all(f"| {name} " in shown for name in VARIANTS) and "1.00" in shown
