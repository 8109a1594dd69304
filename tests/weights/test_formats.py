"""Every format of CLIP weights gives the same model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import random_clip_state_dict
from layouts import as_custom_text_clip, as_hugging_face, write_torchscript
from safetensors.torch import save_file
from torch import Tensor, nn

from loreal_plugin.errors import WeightsError
from loreal_plugin.weights import describe, import_clip, load_clip_state_dict, weights_fingerprint

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def clip_state() -> Callable[[], State]:
    """Give copies of a CLIP with a small vocabulary: its files are quick to write."""
    weights = random_clip_state_dict(vocab=100, seed=4)
    return lambda: {name: value.clone() for name, value in weights.items()}


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def saved_safely(state: State, path: Path) -> Path:
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


FORMATS: dict[str, Callable[[State, Path], Path]] = {
    "openai plain": lambda state, at: saved(state, at / "clip.pt"),
    "openai torchscript": lambda state, at: write_torchscript(state, at / "clip.pt"),
    "openai safetensors": lambda state, at: saved_safely(state, at / "clip.safetensors"),
    "hugging face": lambda state, at: saved(as_hugging_face(state), at / "pytorch_model.bin"),
    "hugging face safetensors": lambda state, at: saved_safely(
        as_hugging_face(state), at / "m.safetensors"
    ),
    "open_clip": lambda state, at: saved(
        state | {"attn_mask": torch.zeros(77, 77)}, at / "open_clip.bin"
    ),
    "open_clip checkpoint": lambda state, at: saved(
        {"epoch": 1, "name": "x", "state_dict": as_custom_text_clip(state)}, at / "epoch_1.pt"
    ),
}


def features(model: nn.Module) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 64, 64, generator=generator)
    with torch.no_grad():
        return model.encode_image(images), model.encode_text(
            torch.randint(0, 100, (2, 77), generator=generator)
        )


def built(state: State) -> nn.Module:
    return import_clip().model.build_model(dict(state)).float()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_features(
    kind: str, clip_state: Callable[[], State], tmp_path: Path
) -> None:
    expected = features(built(clip_state()))
    state = load_clip_state_dict(FORMATS[kind](clip_state(), tmp_path))
    assert state.keys() == clip_state().keys()
    for ours, theirs in zip(features(built(state)), expected, strict=True):
        assert torch.equal(ours, theirs)


def test_describe_names_the_sizes(clip_state: Callable[[], State]) -> None:
    sizes = describe(clip_state())
    parameters = sizes.pop("parameters")
    assert sizes == {
        "layers": 3,
        "width": 64,
        "patch": 16,
        "grid": 4,
        "resolution": 64,
        "text_layers": 3,
        "text_width": 64,
        "embed_dim": 64,
        "context_length": 77,
        "vocab": 100,
    }
    assert parameters == sum(value.numel() for value in built(clip_state()).parameters())


def test_fingerprint_follows_the_weights_not_the_file(
    clip_state: Callable[[], State], tmp_path: Path
) -> None:
    plain = saved(clip_state(), tmp_path / "a.pt")
    first = weights_fingerprint(plain)
    assert first == weights_fingerprint(saved_safely(clip_state(), tmp_path / "b.safetensors"))
    changed = clip_state()
    changed["visual.proj"][0, 0] += 1
    assert weights_fingerprint(saved(changed, plain)) != first
    assert len(first) == 64


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("part", [0.0, 0.3, 0.999])
def test_a_truncated_file_is_named(
    kind: str, part: float, clip_state: Callable[[], State], tmp_path: Path
) -> None:
    path = FORMATS[kind](clip_state(), tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(WeightsError, match=rf"{path.name}.*fetch it again"):
        load_clip_state_dict(path)


def test_an_incomplete_or_foreign_state_dict_is_named(
    clip_state: Callable[[], State], tmp_path: Path
) -> None:
    def message(content: object) -> str:
        with pytest.raises(WeightsError) as caught:
            load_clip_state_dict(saved(content, tmp_path / "odd.pt"))
        return str(caught.value)

    state = clip_state()
    del state["transformer.resblocks.1.mlp.c_fc.bias"]
    assert "transformer.resblocks.1.mlp.c_fc.bias is missing" in message(state)
    assert "logit_bias is not part of a plain CLIP ViT" in message(
        clip_state() | {"logit_bias": torch.zeros(())}
    )
    wrong = clip_state() | {"ln_final.weight": torch.ones(65)}
    assert "ln_final.weight is (65,), not (64,)" in message(wrong)
    hf = as_hugging_face(clip_state())
    del hf["text_model.encoder.layers.0.self_attn.k_proj.weight"]
    assert "transformer.resblocks.0.attn.in_proj_weight is missing" in message(hf)
    assert "lacks visual.class_embedding" in message({"fc.weight": torch.zeros(2, 2)})
    assert "holds a list, not a state dict" in message([1, 2])
    assert "odd.pt" in message({"visual.layer1.0.conv1.weight": torch.zeros(1)})
    assert "ViT only" in message({"visual.layer1.0.conv1.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    ("card", "content", "message"),
    [
        (
            "config.json",
            {"text_config": {"hidden_act": "gelu"}},
            "text_config.hidden_act is 'gelu'",
        ),
        (
            "config.json",
            {"vision_config": {"hidden_size": 64, "num_attention_heads": 2}},
            "2 heads at width 64",
        ),
        ("open_clip_config.json", {"model_cfg": {"embed_dim": 64}}, "activation GELU"),
    ],
)
def test_a_config_beside_the_file_that_tells_of_another_model_is_heeded(
    card: str, content: dict, message: str, clip_state: Callable[[], State], tmp_path: Path
) -> None:
    path = saved(as_hugging_face(clip_state()), tmp_path / "pytorch_model.bin")
    (tmp_path / card).write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=message):
        load_clip_state_dict(path)
    (tmp_path / card).write_text(json.dumps({"model_cfg": {"quick_gelu": True}}))
    assert load_clip_state_dict(path).keys() == clip_state().keys()
