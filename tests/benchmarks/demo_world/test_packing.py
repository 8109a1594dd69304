"""Packing, expanding, and clip-anytorch's own model against the one that was trained."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch

from benchmarks.demo_world import towers
from benchmarks.demo_world.pretrain import PretrainConfig
from benchmarks.demo_world.tokens import token_table
from loreal_plugin.demo import weights
from loreal_plugin.weights import import_clip

clip = import_clip()

PROMPTS = ("a photo of a anchor.", "a photo of a saddle with red red color low low place.")


def full_model(path):
    return clip.model.build_model(weights.expand_demo_state_dict(path)).float()


def test_packed_file_is_small_and_carries_its_settings(tiny_weights):
    assert tiny_weights.stat().st_size < weights.MAX_BYTES
    metadata = weights.read_metadata(tiny_weights)
    assert (
        metadata["steps"] == 6
        and metadata["config"]["seed"] == 1
        and metadata["world_version"] == 1
    )


def test_expanding_returns_the_trained_tensors(tiny_trainer, tiny_weights):
    full, trained = weights.expand_demo_state_dict(tiny_weights), tiny_trainer.model.state_dict()
    assert full.keys() == trained.keys()
    for key, value in trained.items():
        found = (
            full[key][tiny_trainer.table.token_ids]
            if key == "token_embedding.weight"
            else full[key]
        )
        assert torch.equal(found, value.half().float()), key


def test_expansion_is_fixed_and_of_the_same_scale(tiny_trainer, tiny_weights):
    one, two = (
        weights.expand_demo_state_dict(tiny_weights)["token_embedding.weight"] for _ in range(2)
    )
    assert one.shape[0] == weights.VOCAB_SIZE and torch.equal(one, two)
    rows = tiny_trainer.model.token_embedding.weight
    assert one.std() == pytest.approx(rows.std().item(), rel=0.1)


def test_build_model_equals_the_training_model(tiny_trainer, tiny_weights):
    model, table = full_model(tiny_weights), tiny_trainer.table
    images = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    patches = towers.normalise_patches(towers.patchify(images))
    mean, std = (
        torch.tensor(value).view(3, 1, 1) for value in (towers.PIXEL_MEAN, towers.PIXEL_STD)
    )
    with torch.no_grad():
        fast = towers.encode_patches(tiny_trainer.model, patches, None)[0]
        own = model.encode_image((images / 255 - mean) / std)
        assert torch.allclose(own / own.norm(dim=-1, keepdim=True), fast, atol=3e-3)
        words = [prompt.replace(".", " .").split() for prompt in PROMPTS]
        fast = towers.encode_text(tiny_trainer.model, table.encode(words))
        own = model.encode_text(clip.tokenize(list(PROMPTS)))
        assert torch.allclose(own / own.norm(dim=-1, keepdim=True), fast, atol=3e-3)


def test_fast_towers_equal_the_modules_they_read(tiny_weights):
    model = full_model(tiny_weights)
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        own = model.encode_image(images)
        fast = towers.encode_patches(model, towers.patchify(images), None)[0]
        assert torch.allclose(own / own.norm(dim=-1, keepdim=True), fast, atol=1e-5)
        tokens = clip.tokenize(list(PROMPTS))
        own = model.encode_text(tokens)
        assert torch.allclose(
            own / own.norm(dim=-1, keepdim=True), towers.encode_text(model, tokens), atol=1e-5
        )


@pytest.mark.parametrize(("name", "seed"), [("demo", 1), ("demo-2", 2)])
def test_shipped_weights_are_those_of_the_default_recipe(name, seed):
    recipe = json.loads(json.dumps(asdict(replace(PretrainConfig(), seed=seed))))
    metadata = weights.read_metadata(name)
    found = metadata["config"]
    # these were made before the recipe had the keys
    found["towers"].setdefault("patch_size", 16)
    found.setdefault("per_half", 20)
    assert found == recipe and metadata["steps"] == recipe["steps"] and metadata["threads"] == 1


def test_shipped_weights_know_every_caption_word():
    assert weights.untrained_tokens(token_table().token_ids, "demo") == []


def test_resampling_positions_keeps_the_class_row():
    position = torch.randn(197, 8)
    assert towers.resample_position(position, 14) is position
    small = towers.resample_position(position, 6)
    assert small.shape == (37, 8) and torch.equal(small[0], position[0])
