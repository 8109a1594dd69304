"""The shipped weights of the demonstration CLIP: there, whole, expanded, and refused if not."""

from __future__ import annotations

import json

import pytest
import torch

from loreal_plugin.data import demo as datasets
from loreal_plugin.demo import weights
from loreal_plugin.weights import import_clip

clip = import_clip()


def shipped():
    folder = weights.Path(weights.__file__).parent / "weights"
    return [name for name, file in weights.DEMO_WEIGHTS.items() if (folder / file).exists()]


def test_the_names_that_need_no_torch_are_those_of_the_files():
    assert datasets.DEMO_WEIGHTS == tuple(weights.DEMO_WEIGHTS)


@pytest.mark.parametrize("name", ["demo", "demo-2"])
def test_shipped_weights_load_and_have_heads_of_64(name):
    assert name in shipped(), f"{weights.DEMO_WEIGHTS[name]} is not in the package"
    path = weights.weights_file(name)
    assert path.stat().st_size <= weights.MAX_BYTES
    model = clip.model.build_model(weights.expand_demo_state_dict(name))
    assert model.visual.input_resolution == 224 and model.context_length == 77
    assert len(model.visual.transformer.resblocks) >= 3 and len(model.transformer.resblocks) >= 3
    for block in (model.visual.transformer.resblocks[0], model.transformer.resblocks[0]):
        assert block.attn.embed_dim // block.attn.num_heads == 64
    assert weights.read_metadata(name)["steps"] > 1000


def test_untrained_tokens_are_named_once_each():
    ids = clip.tokenize(["a photo of a zebra zebra anchor."])[0].tolist()
    unknown = weights.untrained_tokens(ids, "demo")
    assert [clip.clip._tokenizer.decode([token]).strip() for token in unknown] == ["zebra"]


def test_damaged_weights_are_refused(tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(weights.weights_file("demo").read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        weights.expand_demo_state_dict(broken)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="'nothing'.*demo, demo-2"):
        weights.weights_file("nothing")


def test_another_safetensors_file_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="no demonstration CLIP.*trained_rows"):
        weights.expand_demo_state_dict(tmp_path / "x.safetensors")


def test_attribute_file_lists_the_slots():
    from loreal_plugin.demo.world import SLOT_ATTRIBUTES

    path = weights.Path(__file__).parents[2] / "attributes" / "demo.json"
    content = json.loads(path.read_text())
    assert content["attributes"] == list(SLOT_ATTRIBUTES) and "demo" in content["dataset"]
    assert set(content["reasons"]) == set(SLOT_ATTRIBUTES)
