"""The four host trainers on a tiny CLIP: one behaviour a test, all methods."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import random_clip_file
from trainer_helpers import LEARNERS, METHODS, batch, build_trainer, learned, logits_of, shake

from loreal_plugin.errors import CheckpointError

KEYS = {
    "coop": {"ctx", "token_prefix", "token_suffix"},
    "maple": {
        "prompt_learner.ctx",
        "prompt_learner.proj.weight",
        "prompt_learner.compound_prompts_text.0",
        "prompt_learner.compound_prompt_projections.0.weight",
        "prompt_learner.token_prefix",
        "image_encoder.conv1.weight",
        "image_encoder.positional_embedding",
        "image_encoder.transformer.resblocks.0.attn.in_proj_weight",
        "text_encoder.text_projection",
        "text_encoder.transformer.resblocks.2.mlp.c_fc.bias",
        "logit_scale",
    },
    "mma": {
        "text_adapter.0.down.0.weight",
        "visual_adapter.2.up.bias",
        "shared_adapter.1.0.weight",
        "token_embedding",
        "tokenized_prompts",
    },
    "mmrl": {
        "representation_learner.compound_rep_tokens",
        "representation_learner.compound_rep_tokens_r2vproj.0.weight",
        "representation_learner.compound_rep_tokens_r2tproj.1.bias",
        "image_encoder.proj_rep",
        "image_encoder.class_embedding",
        "text_encoder.ln_final.weight",
        "prompt_embeddings",
    },
}
FOLDERS = {
    "coop": "prompt_learner",
    "maple": "MultiModalPromptLearner",
    "mma": "adapter_learner",
    "mmrl": "MultiModalRepresentationLearner",
}
per_method = pytest.mark.parametrize("method", METHODS)


@per_method
def test_names_are_those_of_the_real_hosts(method: str, clip_file: Path) -> None:
    trainer = build_trainer(method, clip_file)
    assert trainer.get_model_names() == [FOLDERS[method]]
    assert KEYS[method] <= trainer._models[FOLDERS[method]].state_dict().keys()
    assert hasattr(trainer.model, LEARNERS[method])


@per_method
def test_a_step_trains_what_is_learned_and_nothing_else(method: str, clip_file: Path) -> None:
    trainer = build_trainer(method, clip_file)
    trainer.set_model_mode("train")
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    for _ in range(2):
        summary = trainer.forward_backward(batch())
    names = learned(trainer.model).keys()
    after = trainer.model.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == names
    assert summary["loss"] > 0 and all(isinstance(value, float) for value in summary.values())
    assert all(
        name.startswith(LEARNERS[method]) or name == "image_encoder.proj_rep" for name in names
    )


@per_method
def test_gradients_reach_every_learned_tensor(method: str, clip_file: Path) -> None:
    trainer = build_trainer(method, clip_file)
    shake(trainer.model)
    trainer.set_model_mode("train")
    data = batch()
    trainer.loss(data["img"], data["label"])[0].backward()
    silent = [
        name
        for name, value in learned(trainer.model).items()
        if value.grad is None or not value.grad.any()
    ]
    assert silent == []


@per_method
def test_saved_and_loaded_it_gives_the_same_logits(
    method: str, clip_file: Path, tmp_path: Path
) -> None:
    first, second = build_trainer(method, clip_file), build_trainer(method, clip_file)
    shake(first.model)
    for epoch in (0, 1):
        first.save_model(epoch, str(tmp_path))
        logits = logits_of(first.model, batch()["img"])
        shake(first.model, seed=epoch)
    assert not torch.allclose(logits_of(second.model, batch()["img"]), logits)
    second.load_model(str(tmp_path), epoch=2)
    assert torch.equal(logits_of(second.model, batch()["img"]), logits)


@per_method
def test_epoch_is_honoured_and_the_last_is_the_default(
    method: str, clip_file: Path, tmp_path: Path
) -> None:
    trainer = build_trainer(method, clip_file)
    logits = {}
    for epoch in (1, 10):
        shake(trainer.model, seed=epoch)
        logits[epoch] = logits_of(trainer.model, batch()["img"])
        trainer.save_model(epoch - 1, str(tmp_path))
    trainer.load_model(str(tmp_path), epoch=1)
    assert torch.equal(logits_of(trainer.model, batch()["img"]), logits[1])
    trainer.load_model(str(tmp_path))
    assert torch.equal(logits_of(trainer.model, batch()["img"]), logits[10])
    with pytest.raises(CheckpointError, match=r"no model.pth.tar-7 .*model.pth.tar-10"):
        trainer.load_model(str(tmp_path), epoch=7)


@per_method
def test_a_checkpoint_loads_at_another_input_size_and_for_other_classes(
    method: str, clip_file: Path, tmp_path: Path
) -> None:
    small = build_trainer(method, clip_file)
    shake(small.model)
    small.save_model(0, str(tmp_path))
    big_file = random_clip_file(tmp_path, resolution=96)
    big = build_trainer(method, big_file, classes=["a", "b c", "d", "e"], size=96)
    positions = big.model.image_encoder.positional_embedding.clone()
    big.load_model(str(tmp_path), epoch=1)
    assert torch.equal(big.model.image_encoder.positional_embedding, positions)
    assert logits_of(big.model, batch(size=96)["img"]).shape == (4, 4)
    for name, value in learned(big.model).items():
        assert torch.equal(value, learned(small.model)[name]), name


@per_method
def test_a_checkpoint_holds_what_was_learned_and_nothing_else(
    method: str, clip_file: Path, tmp_path: Path
) -> None:
    trainer = build_trainer(method, clip_file)
    with torch.no_grad():
        for value in learned(trainer.model).values():
            value.normal_()
    trainer.save_model(0, str(tmp_path))
    (path,) = tmp_path.glob(f"{FOLDERS[method]}/model.pth.tar-*")
    saved = torch.load(path, weights_only=True)["state_dict"]
    part = trainer._models[FOLDERS[method]]
    wanted = {name: value for name, value in part.named_parameters() if value.requires_grad}
    assert saved.keys() == wanted.keys() and len(saved) > 0
    # optimisers may keep as much again twice over; the CLIP around it is far larger
    assert (
        path.stat().st_size
        < 4 * sum(v.numel() * v.element_size() for v in wanted.values()) + 100_000
    )
    again = build_trainer(method, clip_file)
    assert again.resume_model_if_exist(str(tmp_path)) == 1
    for name, value in learned(again.model).items():
        assert torch.equal(value, learned(trainer.model)[name]), name


@per_method
def test_a_whole_model_as_the_public_hosts_write_it_loads_too(
    method: str, clip_file: Path, tmp_path: Path
) -> None:
    trainer, name = build_trainer(method, clip_file), FOLDERS[method]
    with torch.no_grad():
        for value in learned(trainer.model).values():
            value.normal_()
    trainer.checkpoint_part = trainer._models.__getitem__
    trainer.save_model(0, str(tmp_path))
    (path,) = (tmp_path / name).glob("model.pth.tar-*")
    saved = torch.load(path, weights_only=True)["state_dict"]
    assert saved.keys() == trainer._models[name].state_dict().keys()
    for load in ("load_model", "resume_model_if_exist"):
        again = build_trainer(method, clip_file)
        getattr(again, load)(str(tmp_path))
        assert all(
            torch.equal(v, learned(trainer.model)[n]) for n, v in learned(again.model).items()
        )


@per_method
def test_a_checkpoint_of_another_shape_is_refused_by_name(
    method: str, clip_file: Path, tmp_path: Path
) -> None:
    trainer = build_trainer(method, clip_file)
    trainer.save_model(0, str(tmp_path))
    other = {
        "coop": {"CTX_INIT": "a photo"},
        "maple": {"N_CTX": 3},
        "mma": {"ADAPTER_DIM": 8},
        "mmrl": {"REP_DIM": 32},
    }
    changed = build_trainer(method, clip_file, **other[method])
    before = {name: value.clone() for name, value in changed.model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"is \(.*in the file, \(.*in the model"):
        changed.load_model(str(tmp_path), epoch=1)
    assert all(
        torch.equal(value, before[name]) for name, value in changed.model.state_dict().items()
    )


@per_method
def test_kept_text_features_are_never_stale(method: str, clip_file: Path, tmp_path: Path) -> None:
    trainer = build_trainer(method, clip_file)
    images = batch()["img"]
    trainer.save_model(0, str(tmp_path))
    start = logits_of(trainer.model, images)
    trainer.set_model_mode("train")
    trainer.forward_backward(batch())
    trained = logits_of(trainer.model, images)
    assert not torch.allclose(start, trained)
    # without any change of mode
    trainer.load_model(str(tmp_path), epoch=1)
    assert torch.equal(logits_of(trainer.model, images), start)
    trainer.model(images)  # with gradients: nothing may be kept that holds a graph
    assert getattr(trainer.model, "text_features_for_inference", None) is None


@pytest.mark.parametrize("method", ["mma", "mmrl"])
def test_text_features_are_computed_once_while_nothing_changes(
    method: str, clip_file: Path
) -> None:
    model = build_trainer(method, clip_file).model.eval()
    calls = []
    model.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        for _ in range(3):
            model(batch()["img"])
    assert len(calls) == 1


@per_method
def test_images_do_not_change_each_others_logits(method: str, clip_file: Path) -> None:
    model = build_trainer(method, clip_file).model
    images = batch()["img"]
    together = logits_of(model, images)
    alone = torch.cat([logits_of(model, image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


@per_method
def test_half_precision_trains_and_evaluates_on_the_cpu(method: str, clip_file: Path) -> None:
    trainer = build_trainer(method, clip_file, prec="fp16")
    trainer.set_model_mode("train")
    assert trainer.model.dtype == torch.float16
    assert torch.isfinite(torch.tensor(trainer.forward_backward(batch())["loss"]))
    half = logits_of(trainer.model, batch()["img"]).float()
    full = build_trainer(method, clip_file)
    same = {
        name: value.to(full.model.state_dict()[name])
        for name, value in trainer.model.state_dict().items()
    }
    full.model.load_state_dict(same)
    torch.testing.assert_close(half, logits_of(full.model, batch()["img"]), atol=0.5, rtol=0)


@per_method
def test_bfloat16_autocast_runs_forward_and_backward(method: str, clip_file: Path) -> None:
    trainer = build_trainer(method, clip_file)
    trainer.set_model_mode("train")
    data = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = trainer.loss(data["img"], data["label"])
    loss.backward()
    assert all(torch.isfinite(value.grad).all() for value in learned(trainer.model).values())


@per_method
def test_amp_without_cuda_is_float32(method: str, clip_file: Path) -> None:
    losses = []
    for prec in ("amp", "fp32"):
        torch.manual_seed(0)
        trainer = build_trainer(method, clip_file, prec=prec)
        trainer.set_model_mode("train")
        losses.append(trainer.forward_backward(batch())["loss"])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("method", ["maple", "mma", "mmrl"])
def test_towers_may_have_any_width(method: str, tmp_path: Path) -> None:
    path = random_clip_file(tmp_path, width=192, text_width=128, embed_dim=32, layers=4)
    trainer = build_trainer(method, path)
    trainer.set_model_mode("train")
    assert trainer.forward_backward(batch())["loss"] > 0
    assert logits_of(trainer.model, batch()["img"]).shape == (4, 3)


def test_mmrl_scores_with_the_features_that_the_task_asks_for(clip_file: Path) -> None:
    fused = {("FS", "new", "Demo"), ("B2N", "base", "Demo"), ("CD", "all", "ImageNet")}
    plain = {("B2N", "new", "Demo"), ("B2N", "all", "Demo"), ("CD", "all", "Demo")}
    for task, half, dataset in fused | plain:
        named = {"DATASET.SUBSAMPLE_CLASSES": half, "DATASET.NAME": dataset}
        trainer = build_trainer("mmrl", clip_file, TASK=task, **named)
        trainer.set_model_mode("eval")
        with torch.no_grad():
            logits, _, fusion, _, _ = trainer.model(batch()["img"])
            used = trainer.model_inference(batch()["img"])
        assert torch.equal(used, fusion if (task, half, dataset) in fused else logits)
        assert not torch.equal(fusion, logits)


def test_mmrl_teacher_is_the_untouched_clip_and_shares_its_tensors(clip_file: Path) -> None:
    from loreal_plugin.weights import import_clip, load_clip_state_dict

    trainer = build_trainer("mmrl", clip_file)
    shake(trainer.model)
    plain = import_clip().model.build_model(load_clip_state_dict(clip_file)).float()
    images = batch()["img"]
    with torch.no_grad():
        torch.testing.assert_close(trainer.image_encoder_clip(images), plain.visual(images))
        text = plain.encode_text(trainer.model.tokenized_prompts)
        torch.testing.assert_close(
            trainer.text_features_clip, text / text.norm(dim=-1, keepdim=True)
        )
    assert trainer.image_encoder_clip.conv1.weight is trainer.model.image_encoder.conv1.weight
