"""DRIFT in a whole trainer: fitted on training pictures, kept, used in training and test."""

from __future__ import annotations

import pytest
import torch

from loreal_plugin.errors import CheckpointError
from loreal_plugin.method.correction import fit_correction

DRIFT = "TRAINER.LOREAL.DRIFT"
VIEWS = "TRAINER.LOREAL.CACHE_VIEWS"
EPOCH = ("OPTIM.MAX_EPOCH", 1)


def pictures(trainer) -> torch.Tensor:
    return next(iter(trainer.test_loader))["img"]


@pytest.mark.parametrize("method", ["coop", "mmrl"])
@pytest.mark.parametrize("kind", ["mean", "ridge"])
def test_drift_is_fitted_on_training_views_and_moves_what_beta_sees(family, tmp_path, method, kind):
    plain = family.train(method, tmp_path / "plain", *EPOCH, VIEWS, 2, DRIFT, "none")
    loader = plain.train_loader_x
    labels = loader.labels.repeat_interleave(2)
    wanted = fit_correction(kind, loader.beta.flatten(0, 1), loader.alpha.flatten(0, 1), labels)

    trainer = family.train(method, tmp_path / "drift", *EPOCH, VIEWS, 2, DRIFT, kind)
    found = trainer.model.correction
    assert found.tensors().keys() == wanted.tensors().keys()
    assert all(
        torch.equal(found.tensors()[name], value) for name, value in wanted.tensors().items()
    )
    corrected = wanted(loader.beta.flatten(0, 1)).unflatten(0, loader.beta.shape[:2])
    assert torch.equal(trainer.train_loader_x.beta, corrected)
    assert torch.equal(trainer.train_loader_x.alpha, loader.alpha)
    assert torch.allclose(trainer.model.beta.mean, corrected.mean((0, 1)), atol=1e-6)

    raw = trainer.model.beta.encode_image(pictures(trainer))
    assert torch.equal(trainer.model.embed(pictures(trainer)), wanted(raw))
    assert not torch.allclose(
        trainer.model(pictures(trainer)), trainer.model.predict(raw), atol=1e-3
    )


def test_uncached_training_with_drift_has_the_losses_of_a_cached_one(family, tmp_path):
    losses = {}
    for views in (0, 1):
        trainer = family.build("coop", tmp_path / str(views), *EPOCH, VIEWS, views, DRIFT, "mean")
        trainer.before_train()
        trainer.epoch = 0
        trainer.before_epoch()
        batch = next(iter(trainer.train_loader_x))
        losses[views] = trainer.model.losses(*trainer.parse_batch_train(batch), 0.0)[0]["loss"]
    assert torch.allclose(losses[0], losses[1], atol=1e-5)


def test_a_loaded_run_predicts_as_the_trained_one_and_other_drift_is_refused(family, tmp_path):
    trained = family.train("maple", tmp_path, *EPOCH, DRIFT, "ridge")
    loaded = family.build("maple", tmp_path / "test", DRIFT, "ridge")
    assert loaded.model.correction is None
    loaded.load_model(str(tmp_path), epoch=1)
    trained.set_model_mode("eval")
    loaded.set_model_mode("eval")
    images = pictures(loaded)
    assert torch.equal(loaded.model(images), trained.model(images))
    one_by_one = torch.cat([loaded.model(image[None]) for image in images])
    assert torch.allclose(one_by_one, loaded.model(images), atol=1e-4)
    with pytest.raises(CheckpointError, match="drift is 'ridge' in the file, 'none' here"):
        family.build("maple", tmp_path / "plain", DRIFT, "none").load_model(str(tmp_path), epoch=1)
