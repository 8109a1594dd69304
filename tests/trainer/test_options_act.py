"""Options that only a whole trainer shows: words per class, mix schedule, crops, other data."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import TINY_CLASSES

from loreal_plugin.errors import AttributeFileError, CheckpointError
from loreal_plugin.method.losses import high_level_distillation
from loreal_plugin.pictures import read_picture
from loreal_plugin.students.views import draw_view, render_view, view_generator

LOREAL = "TRAINER.LOREAL."
WORDS = ["color", "shape", "size", "outline", "texture"]
NATIVE, PHI = 64, 32


def words_file(path: Path, **changed: list[str]) -> Path:
    """Write an attribute file with words for each of the six classes; `changed` by class name."""
    per_class = {name: changed.get(name, WORDS) for name in TINY_CLASSES[:6]}
    content = {
        "schema_version": 1,
        "dataset": "toy",
        "domain": "object",
        "attributes": WORDS,
        "per_class": per_class,
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def per_class(path: Path) -> tuple[Any, ...]:
    return (LOREAL + "ATTRIBUTE_SCOPE", "class", LOREAL + "ATTRIBUTES", path)


def one_batch(trainer: Any, epoch: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    trainer.train_loader_x.set_epoch(epoch)
    [mean.restart() for mean in trainer.stage3.means]
    return trainer.parse_batch_train(next(iter(trainer.train_loader_x)))


# ---- ATTRIBUTE_SCOPE class -----------------------------------------------------------------------


def test_words_of_a_class_change_its_own_text_alone_on_both_text_paths(family, tmp_path):
    plain = words_file(tmp_path / "plain.json")
    other = words_file(
        tmp_path / "other.json", brain=["fold", "stem", "lobe", "half", "grey matter"]
    )
    contents = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0))
    found = {}
    for path in ("prefix", "reference"):
        for file in (plain, other):
            trainer = family.build(
                "coop", tmp_path / "out", *per_class(file), LOREAL + "TEXT_PATH", path
            )
            found[path, file.stem] = trainer.model.beta.text_path(contents).detach()
    whole = family.build(
        "coop", tmp_path / "out", LOREAL + "ATTRIBUTES", plain
    ).model.beta.text_path(contents)
    assert torch.allclose(found["prefix", "plain"], whole, atol=1e-4)
    for stem in ("plain", "other"):
        assert torch.allclose(found["prefix", stem], found["reference", stem], atol=1e-4)
    brain = list(trainer.dm.dataset.classnames).index("brain")
    others = [c for c in range(3) if c != brain]
    for path in ("prefix", "reference"):
        before, after = found[path, "plain"], found[path, "other"]
        assert torch.allclose(before[:, others], after[:, others], atol=1e-5)
        assert not torch.allclose(before[:, brain], after[:, brain], atol=1e-3)


@pytest.mark.parametrize("path", ["prefix", "reference"])
def test_scope_class_trains_and_tests_new_classes(family, tmp_path, path):
    file = words_file(tmp_path / "a.json", ferry=["hull", "deck", "bow", "stern", "bridge"])
    options = (*per_class(file), LOREAL + "TEXT_PATH", path, "OPTIM.MAX_EPOCH", 1)
    trainer = family.train("coop", tmp_path, *options)
    assert "* accuracy: " in trainer.said
    new = family.build("coop", tmp_path / "new", *options, subset="new")
    new.load_model(str(tmp_path), epoch=1)
    assert ["hull", "deck", "bow", "stern", "bridge"] in [list(words) for words in new.stage3.words]


def test_resume_with_other_words_of_a_class_is_refused(family, tmp_path):
    options = per_class(words_file(tmp_path / "a.json"))
    family.train("coop", tmp_path, *options, "OPTIM.MAX_EPOCH", 1)
    words_file(tmp_path / "a.json", brain=["fold", *WORDS[1:]])
    with pytest.raises(CheckpointError, match="words was .* choose another output folder"):
        family.build("coop", tmp_path, *options, "OPTIM.MAX_EPOCH", 2).train()
    words_file(tmp_path / "a.json")
    resumed = family.train("coop", tmp_path, *options, "OPTIM.MAX_EPOCH", 2)
    assert "will resume training" in resumed.said


def test_scope_class_without_words_for_a_class_is_refused(family, tmp_path):
    with pytest.raises(AttributeFileError, match="words for every class"):
        family.build("coop", tmp_path, LOREAL + "ATTRIBUTE_SCOPE", "class")


# ---- bridge and cross path -----------------------------------------------------------------------


@pytest.mark.parametrize("mix_alpha", ["own", "cross"])
def test_mix_follows_the_trainers_progress(family, tmp_path, monkeypatch, mix_alpha):
    module, calls = importlib.import_module("loreal_plugin.method.loreal"), []
    inputs = module.condition_inputs

    def spy(f_alpha: torch.Tensor, f_beta: torch.Tensor, **options: Any) -> Any:
        for_alpha, for_beta = inputs(f_alpha, f_beta, **options)
        weight = options["mix_weight"]
        assert for_alpha is (f_alpha if mix_alpha == "own" else f_beta)
        wanted = torch.nn.functional.normalize((1 - weight) * f_alpha + weight * f_beta, dim=-1)
        assert torch.equal(for_beta, wanted)
        calls.append(weight)
        return for_alpha, for_beta

    monkeypatch.setattr(module, "condition_inputs", spy)
    options = ("BRIDGE", "mix", "MIX_START", 0.25, "MIX_MAX", 0.8, "MIX_ALPHA", mix_alpha)
    words = [LOREAL + word if i % 2 == 0 else word for i, word in enumerate(options)]
    family.train("coop", tmp_path, *words, "OPTIM.MAX_EPOCH", 2)
    steps = len(calls)
    wanted = [0.8 * max(0.0, step / (steps - 1) - 0.25) / 0.75 for step in range(steps)]
    assert steps == 8 and calls == pytest.approx(wanted)


def test_mix_alpha_cross_fills_alphas_prompt_with_betas_contents(family, tmp_path):
    trainer = family.build(
        "coop", tmp_path, LOREAL + "BRIDGE", "mix", LOREAL + "MIX_ALPHA", "cross"
    )
    model, asked = trainer.model, {}

    def recorded(name: str, path: Any) -> Any:
        def run(contents: torch.Tensor) -> torch.Tensor:
            asked[name] = contents
            return path(contents)

        return run

    for name, student in (("alpha", model.alpha), ("beta", model.beta)):
        student.text_path = recorded(name, student.text_path)
    alpha, beta, labels = one_batch(trainer)
    model.losses(alpha, beta, labels, 0.0)
    assert torch.equal(asked["alpha"], model.meta_nets(beta[:, 0]))
    assert torch.allclose(asked["beta"], model.meta_nets(alpha[:, 0]), atol=1e-6)


def test_cross_weight_adds_the_kl_of_the_crossed_prompts(family, tmp_path):
    trainer = family.build(
        "coop", tmp_path, LOREAL + "CROSS_WEIGHT", 0.7, LOREAL + "BRIDGE", "self"
    )
    model, options = trainer.model, trainer.stage3.options
    alpha, beta, labels = one_batch(trainer)
    found, _ = model.losses(alpha, beta, labels, 0.3)
    logits = []
    for name, features, other in (("alpha", alpha, beta), ("beta", beta, alpha)):
        student = getattr(model, name)
        logits.append(
            student.logits(features, student.text_path(model.meta_nets(other[:, 0])), True)
        )
    wanted = high_level_distillation(
        *logits, options.hld_temperature, options.hld_direction, options.hld_tau_squared
    )
    assert found["cross"].item() == pytest.approx(wanted.item(), rel=1e-5) and wanted.item() > 0
    rest = found["ce"] + options.hld_weight * found["hld"] + options.lld_weight / 5 * found["lld"]
    assert found["loss"].item() == pytest.approx((rest + 0.7 * wanted).item(), rel=1e-5)
    found["loss"].backward()
    assert all(p.grad is not None for p in model.meta_nets.parameters())
    summary = family.train(
        "coop", tmp_path / "run", LOREAL + "CROSS_WEIGHT", 0.7, "TRAIN.PRINT_FREQ", 1
    ).said
    assert "cross " in summary


# ---- views ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("views", ["paired", "independent"])
def test_cached_embeddings_are_of_the_students_own_boxes(family, tmp_path, views):
    words = [LOREAL + "VIEWS", views, LOREAL + "CACHE_VIEWS", 2, LOREAL + "DRIFT", "none"]
    trainer = family.build("coop", tmp_path, *words)
    trainer.before_train()
    trainer.close_writer()
    plan, loader = trainer.stage3.data, trainer.train_loader_x
    for index, number in ((0, 0), (3, 1)):
        image = read_picture(plan.items[index].impath)
        boxes = [
            draw_view(*image.size, plan.recipe, view_generator(plan.seed, index, number, stream))
            for stream in (0, 1)
        ]
        assert boxes[0] != boxes[1]
        low = boxes[1] if views == "independent" else boxes[0]
        for name, box, size in (("alpha", boxes[0], NATIVE), ("beta", low, PHI)):
            picture = render_view(image, box, size, plan.recipe)[None]
            wanted = getattr(trainer.model, name).encode_image(picture)[0]
            assert torch.allclose(getattr(loader, name)[index, number], wanted, atol=1e-5)
    uncached = plan.view_loader().dataset
    uncached.set_view(1)
    wanted = trainer.model.beta.encode_image(uncached[3]["img_low"][None])[0]
    assert torch.allclose(loader.beta[3, 1], wanted, atol=1e-5)


# ---- TEST_ATTRIBUTES -----------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["source", "target"])
def test_words_of_a_run_that_is_built_on_another_dataset(family, tmp_path, choice):
    trained = family.train("coop", tmp_path, "OPTIM.MAX_EPOCH", 1)
    elsewhere = family.data / "food101"  # its name brings an attribute file of its own
    if not elsewhere.exists():
        elsewhere.symlink_to(family.data / "pictures", target_is_directory=True)
    options = ("DATASET.FOLDER", "food101", LOREAL + "TEST_ATTRIBUTES", choice)
    there = family.build("coop", tmp_path / choice, *options, subset="new")
    own = list(there.stage3.words)
    assert own != trained.stage3.words and own[0] == "main color"
    before = there.model.beta.text_path
    there.load_model(str(tmp_path), epoch=1)
    assert list(there.stage3.words) == (trained.stage3.words if choice == "source" else own)
    assert (there.model.beta.text_path is before) == (choice == "target")
    there.test()
    wrong = family.build(
        "coop", tmp_path / "wrong", "DATASET.FOLDER", "food101", LOREAL + "HIDDEN_DIM", 8
    )
    with pytest.raises(CheckpointError, match="hidden_dim"):
        wrong.load_model(str(tmp_path), epoch=1)
