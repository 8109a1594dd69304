"""Inference modes on trained toy models: equal or near to exact, one image at a time."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from loreal_plugin.contract import CONTRACTS
from loreal_plugin.errors import CheckpointError, ConfigError
from loreal_plugin.inference.modes import check_inference
from loreal_plugin.inference_modes import MODES
from loreal_plugin.options import resolve_options
from loreal_plugin.students.student import with_slots

METHODS = ["coop", "maple", "mma", "mmrl"]
L = "TRAINER.LOREAL."


@pytest.fixture(scope="module")
def trained(family, tmp_path_factory):
    """Give a method's stage 3, trained once, with weights large enough that contents matter."""
    made = {}

    def give(method: str):
        if method not in made:
            folder = tmp_path_factory.mktemp(method)
            trainer = family.train(method, folder, f"{L}META_INIT", "default", f"{L}CACHE_VIEWS", 8)
            for net in trainer.model.meta_nets.meta_nets:
                net.up.weight.data.mul_(8)
            trainer.save_model(1, str(folder))
            made[method] = trainer
        return made[method]

    return give


def features_of(trainer, count: int = 6) -> torch.Tensor:
    images = torch.cat([batch["img"] for batch in trainer.test_loader])[:count]
    with torch.no_grad():
        return trainer.model.embed(images.to(trainer.device))


def training_features(trainer, step: int = 1) -> torch.Tensor:
    return trainer.stage3.training_features(trainer.device)[::step].to(trainer.device)


def options_of(trainer, mode: str, **changed):
    return dataclasses.replace(trainer.stage3.options, inference=mode, **changed)


def exact_logits(trainer, features: torch.Tensor) -> torch.Tensor:
    model = trainer.model
    with torch.no_grad():
        contents = model.contents(model.beta, features)
        return model.logits(model.beta, features, contents, model.fusion)


@pytest.mark.parametrize("method", METHODS)
def test_modes_that_check_every_class_are_exact(trained, method):
    trainer = trained(method)
    features, n_classes = features_of(trainer), 3
    wanted = exact_logits(trainer, features)
    everything = {
        "exact": trainer.stage3.modes(trainer.device).mode(options_of(trainer, "exact")),
        "shortlist": trainer.stage3.modes(trainer.device).mode(
            options_of(trainer, "shortlist", shortlist_k=n_classes)
        ),
        "auto": trainer.stage3.modes(trainer.device).mode(
            options_of(trainer, "auto", shortlist_k=n_classes), margin=1e6
        ),
    }
    for mode in everything.values():
        torch.testing.assert_close(mode(features), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", sorted(MODES.keys() - {"exact"}))
def test_an_image_is_predicted_alone_whatever_the_chunk(trained, method, mode):
    trainer = trained(method)
    features = features_of(trainer)
    predict = trainer.stage3.modes(trainer.device).mode(
        options_of(trainer, mode, shortlist_k=2), margin=5.0
    )
    together = predict(features)
    assert together.shape == (6, 3) and together.dtype == torch.float32
    path = trainer.model.beta.text_path
    for chunk in (1, 2, 7):
        path.chunk = chunk
        alone = torch.cat([predict(features[i : i + 1]) for i in range(6)])
        torch.testing.assert_close(alone, together, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(
            predict(features.flip(0)).flip(0), together, atol=1e-4, rtol=1e-4
        )
    path.chunk = 0


@pytest.mark.parametrize("method", METHODS)
def test_static_is_the_prompt_of_the_mean_training_image(trained, method):
    trainer = trained(method)
    features, model = features_of(trainer), trainer.model
    hidden = (
        trainer.stage3.modes(trainer.device)
        .activations(trainer.stage3.training_features(trainer.device))
        .mean(0)
        .unflatten(0, (len(trainer.stage3.words), -1))
    )
    hidden = hidden.to(trainer.device)
    with torch.no_grad():
        text = model.beta.text_path(model.meta_nets.from_hidden(hidden[None]))[0]
        wanted = model.beta.logits(features, text, model.fusion)
    got = trainer.stage3.modes(trainer.device).mode(options_of(trainer, "static"))(features)
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["fitted", "jacobian"])
@pytest.mark.parametrize("method", METHODS)
def test_tangent_is_nearer_to_exact_than_static(trained, method, kind):
    trainer = trained(method)
    features, ups = (
        training_features(trainer, 9),
        [net.up for net in trainer.model.meta_nets.meta_nets],
    )

    def error(mode: str) -> float:
        got = trainer.stage3.modes(trainer.device).mode(
            options_of(trainer, mode, tangent_kind=kind, tangent_rank=16)
        )(features)
        return float((got - exact_logits(trainer, features)).abs().mean())

    # Contents are strong here: random features bend too much for derivatives at one point.
    strength = 1.0 if kind == "fitted" else 0.125
    for up in ups:
        up.weight.data.mul_(strength)
    try:
        assert error("tangent") < 0.5 * error("static")
    finally:
        for up in ups:
            up.weight.data.div_(strength)


@pytest.mark.parametrize("order", ["slots_first", "ctx_first"])
def test_other_slot_orders_have_the_same_modes(family, tmp_path, order):
    trainer = family.train(
        "coop", tmp_path, f"{L}SLOT_ORDER", order, f"{L}CACHE_VIEWS", 8, f"{L}META_INIT", "default"
    )
    for net in trainer.model.meta_nets.meta_nets:
        net.up.weight.data.mul_(8)
    features = training_features(trainer, 9)
    wanted = exact_logits(trainer, features)
    complete = trainer.stage3.modes(trainer.device).mode(
        options_of(trainer, "shortlist", shortlist_k=3)
    )(features)
    torch.testing.assert_close(complete, wanted, atol=1e-4, rtol=1e-4)
    static, tangent = (
        trainer.stage3.modes(trainer.device).mode(options_of(trainer, mode))(features)
        for mode in ("static", "tangent")
    )
    assert (tangent - wanted).abs().mean() < 0.5 * (static - wanted).abs().mean()


def test_reference_text_path_gives_the_same_tables(trained):
    trainer = trained("mma")
    options, features = (
        options_of(trainer, "tangent", tangent_kind="jacobian"),
        features_of(trainer),
    )
    wanted = trainer.stage3.modes(trainer.device).mode(options)(features)
    model, store = trainer.model, trainer.stage3.modes(trainer.device).store.folder
    prefix = model.beta
    slow = dataclasses.replace(trainer.stage3.options, text_path="reference")
    for path in store.glob("expansion-*"):
        path.unlink()
    model.beta = with_slots(prefix, trainer.stage3.words, slow)
    try:
        got = trainer.stage3.modes(trainer.device).mode(options)(features)
    finally:
        model.beta = prefix
        for path in store.glob("expansion-*"):
            path.unlink()
    scale = (
        (
            wanted
            - trainer.stage3.modes(trainer.device).mode(options_of(trainer, "static"))(features)
        )
        .abs()
        .mean()
    )
    assert (got - wanted).abs().mean() < 0.1 * scale


def test_test_predicts_in_the_mode_and_validation_exactly(family, tmp_path):
    trainer = family.train("coop", tmp_path, f"{L}INFERENCE", "static", f"{L}META_INIT", "default")
    seen = []
    predict = trainer.model.predict
    trainer.model.predict = lambda features: seen.append(trainer.model.mode) or predict(features)
    trainer.test()
    assert seen and all(mode.mode == "static" for mode in seen)
    seen.clear()
    trainer.test(split="val")
    assert seen and all(mode is None for mode in seen)


def test_new_classes_use_the_statistics_of_the_training(family, tmp_path):
    family.train("coop", tmp_path, f"{L}CACHE_VIEWS", 8)
    new = family.build("coop", tmp_path / "new", f"{L}INFERENCE", "tangent", subset="new")
    new.load_model(str(tmp_path))
    with pytest.raises(CheckpointError, match="has another classnames: run loreal calibrate"):
        new.stage3.prepare_inference(new.device)
    base = family.build("coop", tmp_path / "base", f"{L}INFERENCE", "static")
    base.load_model(str(tmp_path))
    base.stage3.prepare_inference(base.device)
    new.stage3.prepare_inference(new.device)
    features = training_features(new)
    assert (new.model.mode.mode, base.model.mode.mode) == ("tangent", "static")
    assert torch.equal(new.model.mode.mean, base.model.mode.mean)
    static = new.stage3.modes(new.device).mode(options_of(new, "static"))
    errors = [
        (mode(features) - exact_logits(new, features)).abs().mean()
        for mode in (static, new.model.mode)
    ]
    assert errors[1] < 0.7 * errors[0]


def test_auto_without_a_threshold_says_what_to_do(trained):
    trainer = trained("coop")
    with pytest.raises(ConfigError, match="no threshold.*loreal calibrate"):
        trainer.stage3.modes(trainer.device).mode(options_of(trainer, "auto"))
    assert (
        trainer.stage3.modes(trainer.device)
        .mode(options_of(trainer, "auto", auto_margin=0.5))
        .margin
        == 0.5
    )


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"CONDITIONING": "batch"}, "CONDITIONING batch"),
        ({"CONSTANT_CONDITIONING": True}, "CONSTANT_CONDITIONING"),
    ],
)
def test_modes_that_cannot_be_are_refused(given, part):
    options = resolve_options({"INFERENCE": "tangent", **given})
    with pytest.raises(ConfigError, match=f"not for {part}"):
        check_inference(CONTRACTS["coop"], options)
    with pytest.raises(ConfigError, match="method 'cocoop'"):
        check_inference(CONTRACTS["cocoop"], resolve_options({"INFERENCE": "static"}))
    check_inference(CONTRACTS["cocoop"], resolve_options({}))
