"""One adapted CLIP for several sizes, on noise pictures at toy size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers import tiny_image_folder
from tiny_hosts import tiny_student

from loreal_plugin.adapt.clip_at_phi import adapt_clip, plain_student
from loreal_plugin.adapt.settings import AdaptSettings
from loreal_plugin.adapt.tower import Tower, adapt
from loreal_plugin.adapt.tower_plan import TowerPlan, read_sizes
from loreal_plugin.cli.main import main
from loreal_plugin.errors import ConfigError
from loreal_plugin.weights import describe, load_clip_state_dict

SETTINGS = AdaptSettings(rank=2, views=2, epochs=12, batch=8, lr=1e-3, seed=3)
SIZES = (48, 32)


def _images(size: int) -> torch.Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(size))


@pytest.fixture(scope="module")
def plan(embedded, clip_file, tmp_path_factory):
    embedded("coop")
    folder = tmp_path_factory.mktemp("several")
    pictures = tiny_image_folder(folder / "pictures", per_class=4)
    out = folder / "adapted.safetensors"
    return TowerPlan(str(clip_file), 48, pictures, out, settings=SETTINGS, smaller=(32,))


@pytest.fixture(scope="module")
def note(plan):
    return adapt_clip(plan, lambda text: None)


def test_the_start_is_the_frozen_student_of_each_size(embedded, clip_file):
    host = embedded("coop")
    student = tiny_student(host, clip_file, size=48)
    pupil = Tower(student)
    adaptation = adapt(student, SETTINGS)
    with pytest.raises(ConfigError, match="cannot read a grid of 2"):
        pupil.read_grid(2)
    pupil.several_sizes("bicubic")
    own = student.model.get_parameter  # the frozen tensors, before they are merged
    for size in (*SIZES, 48):
        pupil.read_grid(size // 16)
        features, tokens = pupil.encode(_images(size))
        assert tokens.shape[1] == (size // 16) ** 2
        if size == 48:  # a student of 32 has other positions: of 64, not of 48
            frozen = tiny_student(host, clip_file, size=48)
            assert torch.equal(features, frozen.encode_image(_images(48)))
    pupil.read_grid(3)
    adaptation.merge()
    assert own(pupil.parts.positions).shape[0] == 1 + 3 * 3
    assert torch.equal(student.encode_image(_images(48)), frozen.encode_image(_images(48)))


def test_both_sizes_come_nearer_and_the_file_is_used_at_both(plan, note, embedded):
    before, after = note["cosines_before"], note["cosines_after"]
    # at 48 a random encoder says nearly what it says at 64: there is nothing to win, and to lose
    assert after[1] > before[1] + 2e-3 and after[0] > before[0] - 1e-3
    assert note["smaller"] == [32]
    state = load_clip_state_dict(plan.out)
    assert describe(state)["resolution"] == 48
    host = embedded("coop")
    for size in SIZES:
        made = plain_student(host, str(plan.out), size, "cpu").encode_image(_images(size))
        frozen = plain_student(host, plan.weights, size, "cpu").encode_image(_images(size))
        assert made.shape == frozen.shape and not torch.allclose(made, frozen, atol=1e-3)


def test_one_size_is_another_training(plan, note):
    alone = replace(plan, smaller=())
    with pytest.raises(ConfigError, match="made with other weights, pictures or settings"):
        adapt_clip(alone, lambda text: None)


def test_sizes_are_read_from_the_command_line(capsys, clip_file, plan, tmp_path):
    assert read_sizes("96") == [96] and read_sizes("96,192,144,96") == [192, 144, 96]
    words = ["adapt", "--weights", str(clip_file), "--pictures", str(plan.pictures)]
    words += ["--out", str(tmp_path / "out.safetensors"), "--phi"]
    for given, told in (("96;144", "give one size"), ("48,40", "multiple of the patch")):
        assert main([*words, given]) != 0
        assert told in capsys.readouterr().err
    rest = ["--views", "1", "--epochs", "1", "--batch", "8"]
    assert main([*words, "32,48", *rest]) == 0
    said = capsys.readouterr().out
    assert "at 48 " in said and "at 32 " in said
