"""Pre-training: reproducible, resumable, and it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.demo_world import pool, pretrain, towers
from benchmarks.demo_world.build import build
from loreal_plugin.demo import weights


def all_weights(trainer):
    return torch.cat([value.flatten() for value in trainer.model.state_dict().values()])


def test_the_same_seed_gives_the_same_bits(tiny_config, tiny_pool, tiny_trainer):
    again = pretrain.Pretrainer(tiny_config, tiny_pool)
    pretrain.run(again)
    assert torch.equal(all_weights(again), all_weights(tiny_trainer))


def test_another_seed_gives_other_weights(tiny_config, tiny_pool):
    one, other = (
        pretrain.Pretrainer(replace(tiny_config, seed=seed), tiny_pool) for seed in (1, 2)
    )
    assert not torch.equal(all_weights(one), all_weights(other))


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, tiny_config, tiny_pool, tiny_trainer):
    first = pretrain.Pretrainer(tiny_config, tiny_pool)
    for _ in range(3):
        first.train_step()
    first.save(tmp_path / "run.pt")
    second = pretrain.Pretrainer(tiny_config, tiny_pool)
    second.load(tmp_path / "run.pt")
    pretrain.run(second)
    assert second.step == tiny_config.steps
    assert torch.equal(all_weights(second), all_weights(tiny_trainer))


def test_a_checkpoint_of_other_settings_is_refused(tmp_path, tiny_config, tiny_pool, tiny_trainer):
    tiny_trainer.save(tmp_path / "run.pt")
    other = pretrain.Pretrainer(replace(tiny_config, seed=2), tiny_pool)
    with pytest.raises(ValueError, match="other settings.*seed"):
        other.load(tmp_path / "run.pt")


def test_training_lowers_the_loss(tiny_config, tiny_pool):
    trainer = pretrain.Pretrainer(replace(tiny_config, steps=40, warmup=5), tiny_pool)
    totals = [sum(trainer.train_step().values()) for _ in range(30)]
    assert np.mean(totals[-5:]) < 0.9 * np.mean(totals[:5])


def test_every_parameter_is_trained(tiny_config, tiny_pool):
    trainer = pretrain.Pretrainer(replace(tiny_config, image_share=0.0, whole_share=1.0), tiny_pool)
    trainer.train_step()
    still = [
        name for name, p in trainer.model.named_parameters() if p.grad is None or not p.grad.any()
    ]
    assert still == []


def test_schedule_warms_up_and_ends_low():
    config = pretrain.PretrainConfig(steps=1000)
    rates = [pretrain.learning_rate(config, step) for step in range(1000)]
    assert (
        rates[0] < rates[50] < max(rates) <= config.learning_rate
        and rates[-1] < 0.03 * config.learning_rate
    )


def test_patches_are_in_the_order_of_the_patch_embedding(tiny_trainer):
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    image = torch.from_numpy(picture).permute(2, 0, 1)[None]
    patches = torch.from_numpy(pool.to_patches(picture))[None]
    assert torch.equal(patches, towers.patchify(image))
    weight = tiny_trainer.model.visual.conv1.weight.detach()
    by_conv = (
        torch.nn.functional.conv2d(image.float(), weight, stride=16).flatten(2).transpose(1, 2)
    )
    assert torch.allclose(patches.float() @ weight.flatten(1).T, by_conv, atol=1e-2)


def test_flipping_patches_flips_the_picture():
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    flipped = pretrain.flip_patches(pool.to_patches(picture)[None])[0]
    assert np.array_equal(flipped, pool.to_patches(np.ascontiguousarray(picture[:, ::-1])))
    values = np.arange(392.0).reshape(1, 196, 2)
    assert np.array_equal(pretrain.flip_grid(values)[0, 0], values[0, 13])


def test_larger_patches_are_made_of_small_ones():
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    small = pool.to_patches(picture)[None]
    large = pool.merged_patches(small, 32)
    image = torch.from_numpy(picture).permute(2, 0, 1)[None]
    assert torch.equal(torch.from_numpy(large), towers.patchify(image, 32))
    assert pool.merged_patches(small, 16) is small
    masks = np.random.default_rng(1).random((2, 224, 224))
    merged = pool.merged_coverage(pool.patch_coverage(masks)[None], 2)[0]
    assert np.allclose(merged[8], masks[:, 32:64, 32:64].mean((1, 2)))


def test_a_clip_with_larger_patches_is_pretrained_by_the_same_recipe(tiny_config, tiny_pool):
    config = pretrain.with_patches(pretrain.PretrainConfig(), 32)
    assert (config.kept_patches, config.towers.patch_size) == (20, 32)
    with pytest.raises(ValueError, match="patches of 24 pixels"):
        pretrain.with_patches(tiny_config, 24)
    trainer = pretrain.Pretrainer(pretrain.with_patches(tiny_config, 32), tiny_pool)
    first, *_, last = (sum(trainer.train_step().values()) for _ in range(tiny_config.steps))
    assert last < first and trainer.model.visual.positional_embedding.shape[0] == 50


def test_pool_is_drawn_once(tmp_path, monkeypatch):
    first = pool.open_pool(tmp_path, 5)
    monkeypatch.setattr(pool, "draw_pretrain_picture", None)
    second = pool.open_pool(tmp_path, 5)
    assert np.array_equal(first.patches, second.patches) and len(second) == 5
    assert second.coverage.shape == (5, 196, 2) and second.coverage[..., 0].max() > 0.9


def test_build_packs_what_it_trained_and_goes_on_only_when_told(
    tmp_path, tiny_config, tiny_pool, tiny_trainer
):
    out = build(tmp_path / "one.safetensors", tmp_path, seed=1, config=tiny_config)
    expected = tiny_trainer.model.state_dict()
    found = weights.expand_demo_state_dict(out)
    assert torch.equal(found["visual.proj"], expected["visual.proj"].half().float())
    assert weights.read_metadata(out)["threads"] == 1
    with pytest.raises(ValueError, match="one.pt.*--resume"):
        build(out, tmp_path, seed=1, config=tiny_config)
    again = build(tmp_path / "one.safetensors", tmp_path, seed=1, config=tiny_config, resume=True)
    assert torch.equal(weights.expand_demo_state_dict(again)["visual.proj"], found["visual.proj"])
