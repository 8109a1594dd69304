"""The ablations of a slot: words without contents, contents without words, on both paths."""

from __future__ import annotations

import pytest
import torch

from loreal_plugin.options import SLOT_PARTS

PATHS = ("prefix", "reference")


def build(family, folder, parts: str, path: str, *options):
    return family.build(
        "coop",
        folder,
        "TRAINER.LOREAL.SLOT_PARTS",
        parts,
        "TRAINER.LOREAL.TEXT_PATH",
        path,
        *options,
    )


def features(trainer, scale: float = 1.0) -> torch.Tensor:
    nets = trainer.model.meta_nets
    contents = scale * torch.randn(
        2, len(nets.meta_nets), 64, generator=torch.Generator().manual_seed(0)
    )
    return trainer.model.beta.text_path(contents).detach()


@pytest.mark.parametrize("parts", SLOT_PARTS)
def test_both_text_paths_give_the_same_features(family, tmp_path, parts):
    prefix, reference = (features(build(family, tmp_path, parts, path)) for path in PATHS)
    assert prefix.shape == reference.shape == (2, 3, 64)
    assert torch.allclose(prefix, reference, atol=1e-4)


@pytest.mark.parametrize("path", PATHS)
def test_words_alone_are_one_prompt_for_all_images(family, tmp_path, path):
    trainer = build(family, tmp_path, "words", path)
    found = features(trainer)
    assert torch.allclose(found[0], found[1], atol=1e-5)
    assert torch.allclose(found, features(trainer, scale=5.0), atol=1e-5)
    prompts = trainer.model.beta.text_path.prompts
    words = [*prompts.word_embeddings]
    assert len(words) > 5 and int(prompts.source.max()) < prompts.first_content_source


@pytest.mark.parametrize("method", ["coop", "maple", "mma", "mmrl"])
@pytest.mark.parametrize("path", PATHS)
def test_without_slots_the_features_are_the_hosts_own(family, tmp_path, method, path):
    trainer = family.build(
        method, tmp_path, "TRAINER.LOREAL.SLOT_PARTS", "none", "TRAINER.LOREAL.TEXT_PATH", path
    )
    beta = trainer.model.beta
    with torch.no_grad():
        prompts = beta.prompts()
        own = beta.encode_text(prompts.embeddings, prompts.tokens)
    found = features(trainer)
    assert torch.allclose(found, own.expand_as(found), atol=1e-5)


@pytest.mark.parametrize("path", PATHS)
def test_contents_alone_do_not_depend_on_the_words(family, tmp_path, path):
    shuffled = ("TRAINER.LOREAL.ATTR_SHUFFLE_SEED", 3)
    plain = features(build(family, tmp_path, "contents", path))
    assert torch.equal(plain, features(build(family, tmp_path, "contents", path, *shuffled)))
    assert not torch.allclose(plain[0], plain[1], atol=1e-4)
    both = features(build(family, tmp_path, "both", path))
    assert not torch.allclose(
        both, features(build(family, tmp_path, "both", path, *shuffled)), atol=1e-4
    )


@pytest.mark.parametrize("parts", ["words", "contents", "none"])
@pytest.mark.parametrize("path", PATHS)
def test_an_ablation_trains(family, tmp_path, parts, path):
    options = (
        "TRAINER.LOREAL.SLOT_PARTS",
        parts,
        "TRAINER.LOREAL.TEXT_PATH",
        path,
        "OPTIM.MAX_EPOCH",
        1,
    )
    trainer = family.train("coop", tmp_path, *options)
    assert "* accuracy: " in trainer.said


@pytest.mark.parametrize("path", PATHS)
def test_words_alone_train_without_the_low_level_loss_too(family, tmp_path, path):
    options = (
        "TRAINER.LOREAL.SLOT_PARTS",
        "words",
        "TRAINER.LOREAL.LLD_WEIGHT",
        0.0,
        "OPTIM.MAX_EPOCH",
        1,
    )
    trainer = family.train("coop", tmp_path, *options, "TRAINER.LOREAL.TEXT_PATH", path)
    assert "* accuracy: " in trainer.said
