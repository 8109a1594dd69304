"""What the host trainers refuse, and what they cost at the published sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import random_clip_file
from trainer_helpers import CLASSES, build_trainer, host_module, learned, trainer_cfg

from loreal_plugin.attach import detach_host
from loreal_plugin.errors import ConfigError
from loreal_plugin.weights import import_clip

PUBLISHED = {"coop": 2_048, "maple": 3_555_072, "mma": 674_560, "mmrl": 4_992_256}
RECIPES = {
    "coop": {},
    "maple": {"PROMPT_DEPTH": 9},
    "mma": {"ADAPTER_START": 5, "ADAPTER_END": 12, "ADAPTER_DIM": 32},
    "mmrl": {"REP_LAYERS": [6, 7, 8, 9, 10, 11, 12], "REP_DIM": 512, "N_REP_TOKENS": 5},
}


@pytest.fixture(autouse=True)
def bare_host() -> None:
    """Undo what attaching adds to the host: it lets CLIP load at any input size."""
    detach_host()


@pytest.fixture(scope="module")
def base_clip() -> torch.nn.Module:
    """Give a CLIP with the shapes of ViT-B/16; it is frozen and never run, so any weights do."""
    model = import_clip().model.CLIP(512, 224, 12, 768, 16, 77, 49408, 512, 8, 12)
    return model.requires_grad_(False)


@pytest.mark.parametrize("method", PUBLISHED)
def test_learned_parameters_at_vit_b_16_are_the_published_ones(
    method: str, base_clip: torch.nn.Module
) -> None:
    cfg = trainer_cfg(method, "ViT-B/16", size=224, **RECIPES[method])
    model = host_module(method).CustomCLIP(cfg, CLASSES, base_clip)
    assert sum(value.numel() for value in learned(model).values()) == PUBLISHED[method]


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("coop", {"PREC": "fp8"}, "TRAINER.COOP.PREC is 'fp8'"),
        ("coop", {"size": 96}, r"INPUT.SIZE is \(96, 96\).*\(64, 64\)"),
        ("coop", {"CSC": True}, "CSC with CTX_INIT 'a photo of a'"),
        ("coop", {"CLASS_TOKEN_POSITION": "last"}, "'last'; it must be one of end, middle, front"),
        ("coop", {"CTX_INIT": "", "N_CTX": 75}, "tokens, CLIP takes 77"),
        ("maple", {"N_CTX": 5}, "N_CTX is 5, but CTX_INIT 'a photo of a' has 4 tokens"),
        (
            "maple",
            {"PROMPT_DEPTH": 4},
            "PROMPT_DEPTH asks for layer 4, but this backbone has 3 text and 3 image",
        ),
        ("maple", {"PROMPT_DEPTH": 0}, "PROMPT_DEPTH asks for layer 0"),
        ("mma", {"ADAPTER_END": 12}, "asks for layer 12.*choose from 0 to 3"),
        ("mma", {"ADAPTER_START": 3}, "ADAPTER_START 3 is after ADAPTER_END 2"),
        ("mma", {"ADAPTER_SCALE": 0.0}, "ADAPTER_SCALE is 0"),
        ("mmrl", {"REP_LAYERS": [6, 7]}, "REP_LAYERS asks for layer 6, 7"),
        ("mmrl", {"REP_LAYERS": []}, r"REP_LAYERS is \[\]"),
        ("mmrl", {"REP_LAYERS": [3, 2]}, r"REP_LAYERS is \[3, 2\]"),
        ("mmrl", {"N_REP_TOKENS": 0}, "N_REP_TOKENS is 0"),
        ("mmrl", {"TASK": "B2B"}, "TASK is 'B2B'; it must be one of B2N, FS, CD"),
    ],
)
def test_settings_that_cannot_work_are_named(
    method: str, settings: dict, message: str, clip_file: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        build_trainer(method, clip_file, **settings)


def test_layers_must_be_within_the_shallower_tower(tmp_path: Path) -> None:
    path = random_clip_file(tmp_path, layers=3, text_layers=2)
    with pytest.raises(ConfigError, match="2 text and 3 image layers; choose from 1 to 2"):
        build_trainer("mmrl", path, REP_LAYERS=[2, 3])


def test_a_class_name_that_does_not_fit_is_named(clip_file: Path) -> None:
    long = "very " * 80 + "long name"
    with pytest.raises(ConfigError, match="the prompt 'a photo of a very very .* CLIP takes 77"):
        build_trainer("coop", clip_file, classes=["cat", long])


def test_context_starts_from_its_words(clip_file: Path) -> None:
    trainer = build_trainer("maple", clip_file, N_CTX=2)
    learner = trainer.model.prompt_learner
    clip = import_clip()
    words = clip.tokenize("a photo")[0, 1:3]
    plain = clip.model.build_model(torch.load(clip_file)).token_embedding.weight
    torch.testing.assert_close(learner.ctx.data, plain[words])
    prompt = clip.tokenize("a photo of a ice cream cone.")
    assert torch.equal(trainer.model.tokenized_prompts[1], prompt[0])
    torch.testing.assert_close(learner()[0][1].data, plain[prompt[0]])


@pytest.mark.parametrize(
    ("position", "order"), [("end", "XXXXNN."), ("middle", "XXNNXX."), ("front", "NNXXXX.")]
)
def test_coop_places_the_class_name(position: str, order: str, clip_file: Path) -> None:
    settings = {"CTX_INIT": "", "N_CTX": 4, "CLASS_TOKEN_POSITION": position}
    model = build_trainer("coop", clip_file, classes=["golden retriever"], **settings).model
    learner = model.prompt_learner
    learner.ctx.data.fill_(7.0)
    prompt = learner()[0].data
    name = import_clip().tokenize("golden retriever.")[0]
    plain = import_clip().model.build_model(torch.load(clip_file)).token_embedding.weight
    fixed = iter(plain[name[1:]])
    expected = [plain[name[0]]] + [
        torch.full((64,), 7.0) if letter == "X" else next(fixed) for letter in order
    ]
    torch.testing.assert_close(prompt[: len(expected)], torch.stack(expected))


def test_coop_learns_one_context_per_class_on_request(clip_file: Path) -> None:
    trainer = build_trainer("coop", clip_file, CSC=True, CTX_INIT="", N_CTX=3)
    assert trainer.model.prompt_learner.ctx.shape == (3, 3, 64)
    assert not torch.equal(*trainer.model.prompt_learner.ctx[:2])
