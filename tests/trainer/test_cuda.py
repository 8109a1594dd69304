"""On a CUDA device: one step and inference of every method in every precision."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_hosts import METHODS

from loreal_plugin.contract import CONTRACTS

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("precision", ["fp32", "fp16", "amp"])
@pytest.mark.parametrize("method", METHODS)
def test_one_step_and_inference(family, tmp_path, method, precision):
    options = (f"TRAINER.{CONTRACTS[method].cfg_node}.PREC", precision)
    trainer = family.build(
        method, tmp_path, *options, "OPTIM.LR", 0.01, "TRAINER.LOREAL.CACHE_VIEWS", 1
    )
    assert trainer.device.type == "cuda" and (trainer.scaler is None) == (precision == "fp32")
    nets = trainer.model.meta_nets
    assert all(p.device.type == "cuda" and p.dtype == torch.float32 for p in nets.parameters())
    trainer.before_train()
    trainer.close_writer()
    start = [p.detach().clone() for p in nets.parameters()]
    trainer.epoch, trainer.batch_idx, trainer.num_batches = 0, 0, len(trainer.train_loader_x)
    trainer.train_loader_x.set_epoch(0)
    trainer.set_model_mode("train")
    summary = trainer.forward_backward(next(iter(trainer.train_loader_x)))
    assert all(value == value and abs(value) < 1e4 for value in summary.values())
    assert any(not torch.equal(old, new) for old, new in zip(start, nets.parameters(), strict=True))
    assert all(torch.isfinite(p).all() for p in nets.parameters())
    trainer.set_model_mode("eval")
    images = next(iter(trainer.test_loader))["img"].cuda()
    with torch.no_grad():
        logits = trainer.model_inference(images)
        alone = trainer.model_inference(images[:1])
    assert logits.shape == (len(images), 3) and torch.isfinite(logits).all()
    # half precision rounds cosines by 5e-4, which the logit scale of 100 makes 5e-2 and more
    assert torch.allclose(
        logits[:1].float(), alone.float(), atol=1e-2 if precision == "fp32" else 0.5
    )


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("method", METHODS)
def test_inference_modes_run_on_the_device(family, tmp_path, method, precision):
    options = (f"TRAINER.{CONTRACTS[method].cfg_node}.PREC", precision)
    trainer = family.train(method, tmp_path, *options, "TRAINER.LOREAL.CACHE_VIEWS", 8)
    features = trainer.stage3.training_features(trainer.device)[::9].cuda()
    exact = trainer.stage3.modes(trainer.device).mode(trainer.stage3.options)(features)
    errors = {}
    for mode in ("shortlist", "tangent", "auto", "static"):
        predict = trainer.stage3.modes(trainer.device).mode(
            dataclasses.replace(trainer.stage3.options, inference=mode), margin=1.0
        )
        logits, alone = predict(features), predict(features[:1])
        assert (logits.device, logits.dtype) == (exact.device, exact.dtype) and torch.isfinite(
            logits
        ).all()
        assert torch.allclose(
            logits[:1].float(), alone.float(), atol=1e-2 if precision == "fp32" else 0.5
        )
        errors[mode] = (logits.float() - exact.float()).abs().mean()
    assert precision != "fp32" or errors["tangent"] < errors["static"]
