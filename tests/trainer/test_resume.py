"""Killed and resumed, seeded twice, tested elsewhere: checkpoints of whole runs."""

from __future__ import annotations

import pytest
import torch

from loreal_plugin.errors import CheckpointError
from loreal_plugin.students.student import with_slots
from loreal_plugin.trainer.checkpoint import read_checkpoint

RUN = ("OPTIM.MAX_EPOCH", 4, "TRAIN.CHECKPOINT_FREQ", 1)


class Killed(Exception):
    """What stands for the end of a process."""


def kill_in_epoch(trainer, epoch: int) -> None:
    """Run a trainer into its death in the middle of an epoch."""
    step = trainer.forward_backward

    def dying(batch):
        if trainer.epoch == epoch and trainer.batch_idx == 1:
            raise Killed
        return step(batch)

    trainer.forward_backward = dying
    with pytest.raises(Killed):
        trainer.train()


def last(folder, epoch: int = 4) -> tuple[dict, dict]:
    return read_checkpoint(folder / "loreal" / f"model-{epoch}.safetensors")


def assert_same_run(ours, theirs) -> None:
    (tensors, record), (others, other) = last(ours), last(theirs)
    assert tensors.keys() == others.keys()
    assert [name for name in tensors if not torch.equal(tensors[name], others[name])] == []
    assert record == other


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("coop", ("TRAINER.LOREAL.CACHE_VIEWS", 2)),
        ("mmrl", ("TRAINER.LOREAL.CACHE_VIEWS", 0, "OPTIM.NAME", "adamw", "OPTIM.LR", 0.001)),
    ],
)
def test_resumed_run_equals_an_uninterrupted_one_bit_for_bit(family, tmp_path, method, options):
    family.train(method, tmp_path / "whole", *RUN, *options)
    kill_in_epoch(family.build(method, tmp_path / "killed", *RUN, *options), epoch=2)
    resumed = family.train(method, tmp_path / "killed", *RUN, *options)
    assert "will resume training" in resumed.said and "epoch [3/4]" in resumed.said
    assert "epoch [2/4]" not in resumed.said
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_seed_reproduces_bit_for_bit_and_another_seed_does_not(family, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        family.train("coop", tmp_path / name, "OPTIM.MAX_EPOCH", 4, "OPTIM.LR", 0.05, seed=seed)
    assert_same_run(tmp_path / "a", tmp_path / "b")
    tensors, others = last(tmp_path / "a")[0], last(tmp_path / "c")[0]
    assert not torch.equal(tensors["meta_nets.0.up.weight"], others["meta_nets.0.up.weight"])


def test_training_means_are_of_the_cached_embeddings(family, tmp_path):
    trainer = family.train("mmrl", tmp_path, "TRAINER.LOREAL.CACHE_VIEWS", 2)
    tensors, _ = last(tmp_path, 2)
    for name in ("alpha", "beta"):
        expected = getattr(trainer.train_loader_x, name).mean((0, 1))
        assert torch.allclose(tensors[f"means.{name}"], expected, atol=1e-6) and expected.shape == (
            2,
            64,
        )
    fresh = family.build("mmrl", tmp_path / "fresh")
    fresh.load_model(str(tmp_path), epoch=2)
    assert torch.equal(fresh.model.beta.mean, tensors["means.beta"])


def test_loaded_model_predicts_as_the_trained_one(family, tmp_path):
    trainer = family.train("maple", tmp_path, "OPTIM.LR", 0.1)
    images = next(iter(trainer.test_loader))["img"]
    fresh = family.build("maple", tmp_path / "fresh")
    with torch.no_grad():
        before = fresh.model_inference(images)
        fresh.load_model(str(tmp_path), epoch=2)
        assert torch.equal(fresh.model_inference(images), trainer.model_inference(images))
        assert not torch.equal(before, fresh.model_inference(images))
    fresh.load_model("")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("TRAINER.LOREAL.N_ATTRIBUTES", 3), "n_attributes is 5 in the file, 3 here"),
        (("TRAINER.LOREAL.HIDDEN_DIM", 16), "hidden_dim is 32 in the file, 16 here"),
        (("TRAINER.LOREAL.ATTR_SHUFFLE_SEED", 2), "attributes is .'color', 'shape'.* here"),
        (("TRAINER.LOREAL.META_BIAS", False), "meta_bias is True"),
        (("TRAINER.LOREAL.N_CONTENT", 1), "n_content is 2"),
    ],
)
def test_checkpoint_of_other_meta_nets_is_refused(family, tmp_path, options, part):
    family.train("coop", tmp_path, "OPTIM.MAX_EPOCH", 1)
    other = family.build("coop", tmp_path / "other", *options)
    with pytest.raises(CheckpointError, match=part):
        other.load_model(str(tmp_path), epoch=1)


def test_checkpoint_of_another_method_or_backbone_is_refused(family, tmp_path, monkeypatch):
    family.train("coop", tmp_path, "OPTIM.MAX_EPOCH", 1)
    other = family.build("maple", tmp_path / "other")
    with pytest.raises(CheckpointError, match="method is 'coop' in the file, 'maple' here"):
        other.load_model(str(tmp_path), epoch=1)
    same = family.build("coop", tmp_path / "same")
    same.stage3.identity["backbone"] = "f" * 64
    with pytest.raises(CheckpointError, match="backbone is '.*' in the file, 'ffff"):
        same.load_model(str(tmp_path), epoch=1)


def test_other_classes_may_be_tested_and_not_trained_on(family, tmp_path):
    family.train("coop", tmp_path, "OPTIM.MAX_EPOCH", 1)
    new = family.build("coop", tmp_path, subset="new")
    new.load_model(str(tmp_path), epoch=1)
    with pytest.raises(CheckpointError, match="classnames was .* choose another output folder"):
        new.train()
    other = family.build("coop", tmp_path, "TRAINER.LOREAL.BRIDGE", "mix")
    with pytest.raises(CheckpointError, match="bridge was 'self', is 'mix'"):
        other.train()


def test_words_of_the_source_or_the_target_dataset(family, tmp_path, monkeypatch):
    trainer = family.train("coop", tmp_path, "OPTIM.MAX_EPOCH", 1)
    there = family.cfg("coop", tmp_path / "there")
    assert trainer.stage3.words == ["color", "shape", "size", "structure", "outline"]
    own = ["fur", "ears", "tail", "legs", "eyes"]
    for choice, words in (("source", trainer.stage3.words), ("target", own)):
        elsewhere = family.build(
            "coop", tmp_path / choice, "TRAINER.LOREAL.TEST_ATTRIBUTES", choice
        )
        cfg = there.clone()
        cfg.defrost()
        cfg.DATASET.NAME = "Elsewhere"
        stage3 = elsewhere.stage3
        stage3.cfg, stage3.words = cfg, own
        stage3.identity["attributes"] = own
        elsewhere.model.beta = with_slots(elsewhere.model.beta, own, stage3.options)
        elsewhere.load_model(str(tmp_path), epoch=1)
        ids = [t for w in words for t in elsewhere.model.beta.tokenize(w)[0].tolist()[1:2]]
        assert elsewhere.stage3.words == words
        assert set(ids) <= set(elsewhere.model.beta.text_path.prompts.tokens[0].tolist())


def test_best_by_validation_is_deployed(family, tmp_path):
    options = ("TEST.FINAL_MODEL", "best_val", "OPTIM.MAX_EPOCH", 2)
    trainer = family.train("coop", tmp_path, *options)
    assert "Deploy the model with the best val performance" in trainer.said
    assert trainer.said.count("Evaluate on the *val* set") == 2
    best = read_checkpoint(tmp_path / "loreal" / "model-best.safetensors")[1]
    assert best["val_result"] == pytest.approx(trainer.best_result)
