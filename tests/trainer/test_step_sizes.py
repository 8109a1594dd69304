"""Steps at random sizes: drawn from seed and step, shrunk as Pillow does it, positions put back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import random_clip_file
from PIL import Image
from tiny_hosts import METHODS, tiny_student

from loreal_plugin.attach import attach_host
from loreal_plugin.paths import embedded_host
from loreal_plugin.trainer.step_sizes import draw_sizes, resize_images, size_of_step

SIZES = (32, 48, 64)


def test_sizes_follow_from_seed_epoch_and_step_and_all_come_equally_often() -> None:
    steps = [(epoch, step) for epoch in range(30) for step in range(30)]
    found = [size_of_step(SIZES, 1, *at) for at in steps]
    assert found == [size_of_step(SIZES, 1, *at) for at in steps]
    assert found != [size_of_step(SIZES, 2, *at) for at in steps]
    assert all(count == pytest.approx(300, abs=60) for count in Counter(found).values())
    assert set(found) == set(SIZES)


def test_pictures_are_shrunk_as_pillow_does_it() -> None:
    pixels = np.random.default_rng(0).integers(64, 192, (64, 64, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC))
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    found = resize_images(images, 48)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - expected).max() <= 1.0, "Pillow rounds to whole values twice"
    assert resize_images(images, 64) is images


@pytest.mark.parametrize("method", METHODS)
def test_a_step_is_that_of_a_host_made_for_its_size(tmp_path: Path, method: str) -> None:
    host, clip = attach_host(embedded_host(), method), random_clip_file(tmp_path)
    native = tiny_student(host, clip)
    own = native.contract.image_tower(native.model).positions
    before = native.model.state_dict()[own]
    seen: dict[int, Any] = {}

    def step(batch: dict[str, Any]) -> dict[str, float]:
        images = batch["img"]
        seen[images.shape[-1]] = images, native.contract.encode_image(native.model, images)
        return {"loss": 0.0}

    trainer = SimpleNamespace(
        forward_backward=step,
        model=native.model,
        cfg=SimpleNamespace(SEED=1),
        epoch=0,
    )
    draw_sizes(trainer, SIZES, "bicubic")
    images = torch.randn(2, 3, 64, 64)
    for trainer.batch_idx in range(12):
        trainer.forward_backward({"img": images, "label": torch.zeros(2)})
        assert native.model.state_dict()[own].shape == before.shape
    assert set(seen) == set(SIZES)
    for size, (given, found) in seen.items():
        other = tiny_student(host, clip, size=size)
        assert torch.equal(given, resize_images(images, size))
        expected = other.contract.encode_image(other.model, given)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_a_frozen_teacher_beside_the_model_reads_the_same_size() -> None:
    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = torch.nn.Conv2d(3, 8, 16, 16)
            rows = torch.randn(17, 8)
            self.positional_embedding = torch.nn.Parameter(rows, requires_grad=False)

    model, teacher = torch.nn.Sequential(Tower()), Tower()
    own = [model[0].positional_embedding, teacher.positional_embedding]
    rows: list[tuple[int, int]] = []

    def step(batch: dict[str, Any]) -> dict[str, float]:
        towers = model[0], teacher
        rows.append(tuple(len(tower.positional_embedding) for tower in towers))
        raise FloatingPointError

    trainer = SimpleNamespace(
        forward_backward=step,
        model=model,
        teacher=teacher,
        cfg=SimpleNamespace(SEED=1),
        epoch=0,
        batch_idx=0,
    )
    draw_sizes(trainer, (32,), "bicubic")
    with pytest.raises(FloatingPointError):
        trainer.forward_backward({"img": torch.zeros(1, 3, 64, 64)})
    assert rows == [(5, 5)]
    assert [model[0].positional_embedding, teacher.positional_embedding] == own, "put back"
