"""The positive control: reading the image pays where the text needs it, by a margin, in seconds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import random_clip_state_dict
from tiny_hosts import tiny_student

from benchmarks.control import Control, Recipe, Test, control_options, drawn_test, train

NAMES = ("airplane", "brain", "camera", "dalmatian", "euphonium", "ferry")
WORDS = ("color", "shape")
VALUES = ("red", "blue", "green", "small")
RECIPE = Recipe()


@pytest.fixture(scope="module")
def test(embedded, tmp_path_factory) -> Test:
    """Give test images of six classes; their text encoder is random and minds single words."""
    state = random_clip_state_dict()
    for name in state:
        if name.startswith("transformer.") and name.endswith("in_proj_weight"):
            state[name] *= 1.5
    state["token_embedding.weight"] *= 5
    state["logit_scale"] = torch.tensor(20.0).log()
    path = tmp_path_factory.mktemp("control") / "clip.pt"
    torch.save(state, path)
    student = tiny_student(embedded("coop"), path, names=NAMES)
    return drawn_test(Control(student, WORDS, [VALUES] * len(WORDS)), RECIPE, 200, seed=0)


def trained(test: Test, **changes: Any) -> tuple[Any, Any]:
    options = control_options(len(WORDS), **changes)
    return options, train(test.control, options, RECIPE, seed=0)


def test_reading_the_image_beats_one_prompt_which_beats_the_host(test: Test) -> None:
    host = test.host()
    constant = test.loreal(*trained(test, constant_conditioning=True))
    options, nets = trained(test)
    instance = test.loreal(options, nets)
    assert constant > host + 10
    assert instance > constant + 5
    # what it gained is in the contents: those of another image are worth less than none at all
    assert test.loreal(options, nets, swapped=True) < constant - 5


def test_images_need_more_than_their_class_name(test: Test) -> None:
    features = test.control.features
    combinations = features.flatten(0, 1)
    best = (test.features[:, 0] @ combinations.T).argmax(1) // features.shape[1]
    # the class is in the image: who knows all features finds it
    assert (best == test.labels).double().mean() > 0.95 and test.host() < 65
