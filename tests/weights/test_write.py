"""A CLIP that we wrote, read by our own reader and by the libraries whose layout it has."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from helpers import random_clip_state_dict
from layouts import as_hugging_face

from loreal_plugin.errors import WeightsError
from loreal_plugin.weights import import_clip, load_clip_state_dict
from loreal_plugin.weights.write import to_hugging_face, write_clip

SIZE = 32
PLACES = [("openai", "clip.pt"), ("openai", "clip.safetensors"), ("hf", "hf"), ("open_clip", "oc")]


@pytest.fixture(scope="module")
def state():
    # widths differ, so that nothing can be turned the wrong way and still fit
    return random_clip_state_dict(width=128, embed_dim=32, layers=2, text_layers=2, resolution=SIZE)


@pytest.fixture(scope="module")
def wanted(state):
    """Give a picture, a text, and their features in the package that came with CLIP."""
    model = import_clip().model.build_model(dict(state)).float().eval()
    model.load_state_dict(state)  # in 32 bits
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    texts = import_clip().tokenize(["a photo of a brain.", "a ferry"])
    with torch.no_grad():
        features = model.encode_image(images), model.encode_text(texts)
    return images, texts, [F.normalize(one, dim=-1) for one in features]


@pytest.mark.parametrize(("layout", "name"), PLACES)
def test_our_reader_gives_back_every_number(state, tmp_path, layout, name):
    back = load_clip_state_dict(write_clip(state, tmp_path / name, layout))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], value) for key, value in state.items())


def test_the_names_are_those_of_hugging_face(state):
    theirs = as_hugging_face(state)
    ours = to_hugging_face(state)
    assert ours.keys() == theirs.keys() - {"text_model.embeddings.position_ids"}
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_openais_own_loader_opens_it(state, wanted, tmp_path):
    clip, (images, texts, features) = import_clip(), wanted
    model, preprocess = clip.load(str(write_clip(state, tmp_path / "c.pt", "openai")), "cpu")
    assert model.visual.input_resolution == SIZE
    assert preprocess.transforms[0].size == SIZE
    with torch.no_grad():
        found = model.encode_image(images), model.encode_text(texts)
    for ours, theirs in zip(found, features, strict=True):
        assert torch.allclose(F.normalize(ours, dim=-1), theirs, atol=5e-3)  # it rounds to 16 bits


def test_transformers_gives_the_same_features(state, wanted, tmp_path):
    library = pytest.importorskip("transformers", reason="pip install -e '.[clip-formats]'")
    write_clip(state, tmp_path / "hf", "hf")
    model, told = library.CLIPModel.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]
    images, texts, features = wanted
    with torch.no_grad():
        found = model(input_ids=texts, pixel_values=images)
    assert torch.allclose(found.image_embeds, features[0], atol=1e-5)
    assert torch.allclose(found.text_embeds, features[1], atol=1e-5)
    processor = library.CLIPImageProcessor.from_pretrained(tmp_path / "hf")
    assert processor.crop_size["height"] == SIZE


def test_open_clip_gives_the_same_features(state, wanted, tmp_path):
    library = pytest.importorskip("open_clip", reason="pip install -e '.[clip-formats]'")
    write_clip(state, tmp_path / "oc", "open_clip")
    model, preprocess = library.create_model_from_pretrained(f"local-dir:{tmp_path / 'oc'}")
    assert preprocess.transforms[0].size in (SIZE, (SIZE, SIZE), [SIZE, SIZE])
    images, texts, features = wanted
    with torch.no_grad():
        found = (
            model.encode_image(images, normalize=True),
            model.encode_text(texts, normalize=True),
        )
    for ours, theirs in zip(found, features, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_cards_say_the_size_and_the_activation(state, tmp_path):
    write_clip(state, tmp_path / "hf", "hf")
    write_clip(state, tmp_path / "oc", "open_clip")
    card = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert card["vision_config"]["image_size"] == SIZE
    assert card["vision_config"]["hidden_act"] == "quick_gelu"
    card = json.loads((tmp_path / "oc" / "open_clip_config.json").read_text())
    assert card["model_cfg"]["vision_cfg"]["image_size"] == SIZE and card["model_cfg"]["quick_gelu"]


def test_places_that_do_not_fit_are_refused(state, tmp_path):
    for layout, name in (("openai", "clip"), ("hf", "clip.pt"), ("open_clip", "c.safetensors")):
        with pytest.raises(WeightsError, match="name"):
            write_clip(state, tmp_path / name, layout)
    assert not list(tmp_path.iterdir())
