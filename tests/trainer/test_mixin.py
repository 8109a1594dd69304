"""Stage 3 on the embedded host: what trains, what does not, what predictions depend on."""

from __future__ import annotations

import importlib

import pytest
import torch
from first_step import first_step
from tiny_hosts import METHODS

from loreal_plugin.contract import CONTRACTS
from loreal_plugin.errors import ConfigError
from loreal_plugin.pictures import read_picture
from loreal_plugin.students.views import build_recipe, draw_view, render_view

NATIVE, PHI = 64, 32


def tensors_of(student) -> dict[str, torch.Tensor]:
    model = student.model
    return {
        name: value.clone() for name, value in (*model.named_parameters(), *model.named_buffers())
    }


def equal(ours: dict, theirs: dict) -> bool:
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name], theirs[name]) for name in ours
    )


def pictures(trainer, count: int = 5) -> torch.Tensor:
    return torch.cat([batch["img"] for batch in trainer.test_loader])[:count]


@pytest.mark.parametrize("method", METHODS)
def test_disabled_equals_the_host_bit_for_bit(family, tmp_path, method):
    host = family.build(method, tmp_path / "host", host=True)
    off = family.build(method, tmp_path / "off", "TRAINER.LOREAL.ENABLED", False)
    assert list(off._models) == list(host._models)
    assert equal(dict(off.model.state_dict()), dict(host.model.state_dict()))
    # The host's recipe for both: stage 3's own rate would make another run.
    off = family.build(
        method,
        tmp_path / "off",
        "TRAINER.LOREAL.ENABLED",
        False,
        "OPTIM.LR",
        host.cfg.OPTIM.LR,
        "OPTIM.NAME",
        host.cfg.OPTIM.NAME,
        "OPTIM.WARMUP_EPOCH",
        host.cfg.OPTIM.WARMUP_EPOCH,
        "OPTIM.WARMUP_TYPE",
        host.cfg.OPTIM.WARMUP_TYPE,
    )
    for trainer in (host, off):
        importlib.import_module("dassl.utils").set_random_seed(3)
        trainer.num_batches, trainer.batch_idx, trainer.epoch = 2, 0, 0
        trainer.set_model_mode("train")
        trainer.first = trainer.forward_backward(next(iter(trainer.train_loader_x)))
        trainer.set_model_mode("eval")
        with torch.no_grad():
            trainer.logits = trainer.model_inference(next(iter(trainer.test_loader))["img"])
    assert off.first == host.first
    if method == "mmrl":
        assert all(torch.equal(a, b) for a, b in zip(off.logits, host.logits, strict=True))
    else:
        assert torch.equal(off.logits, host.logits)
    assert equal(dict(off.model.state_dict()), dict(host.model.state_dict()))


@pytest.mark.parametrize("method", METHODS)
def test_only_the_meta_nets_train(family, tmp_path, method):
    trainer = family.build(method, tmp_path)
    students = {"alpha": trainer.model.alpha, "beta": trainer.model.beta}
    nets = trainer.model.meta_nets
    before = {name: tensors_of(s) for name, s in students.items()}
    start = {name: value.clone() for name, value in nets.state_dict().items()}
    assert list(trainer._models) == ["loreal"] and trainer._models["loreal"] is nets
    assert (
        f"Parameters that train: {nets.count_parameters():,} in {len(list(nets.parameters()))}"
        in trainer.said
    )
    trainer.train()
    assert all(equal(before[name], tensors_of(s)) for name, s in students.items())
    assert all(not m.training for s in students.values() for m in s.model.modules())
    assert all(not torch.equal(start[name], value) for name, value in nets.state_dict().items())
    assert all(p.grad is None for s in students.values() for p in s.model.parameters())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("text_path", ["prefix", "reference"])
def test_prediction_does_not_depend_on_batch_mates(family, tmp_path, method, text_path):
    trainer = family.build(method, tmp_path, "TRAINER.LOREAL.TEXT_PATH", text_path)
    trainer.set_model_mode("eval")
    images = pictures(trainer)
    with torch.no_grad():
        together = trainer.model_inference(images)
        alone = torch.cat([trainer.model_inference(image[None]) for image in images])
        reverse = trainer.model_inference(images.flip(0)).flip(0)
    assert together.shape == (5, 3)
    assert torch.allclose(together, alone, atol=1e-4) and torch.allclose(
        together, reverse, atol=1e-4
    )


@pytest.mark.parametrize("method", METHODS)
def test_text_paths_and_chunks_give_the_same_losses_and_gradients(family, tmp_path, method):
    found = []
    for path, chunk in (("prefix", 0), ("prefix", 2), ("reference", 0)):
        trainer = family.build(
            method,
            tmp_path,
            "TRAINER.LOREAL.TEXT_PATH",
            path,
            "TRAINER.LOREAL.CLASS_CHUNK",
            chunk,
            "TRAINER.LOREAL.HLD_DIRECTION",
            "symmetric",
        )
        found.append(first_step(trainer))
    for losses, grads in found[1:]:
        assert torch.allclose(losses, found[0][0], atol=1e-4)
        assert (grads - found[0][1]).norm() < 1e-4 * found[0][1].norm()


def test_deployed_model_asks_beta_alone(family, tmp_path):
    trainer = family.build("maple", tmp_path)
    trainer.model.alpha = None
    with torch.no_grad():
        assert trainer.model_inference(pictures(trainer)).shape == (5, 3)


def test_test_pictures_are_the_hosts_at_phi_and_views_are_its_transform(family, tmp_path):
    trainer = family.build("coop", tmp_path)
    host = family.build("coop", tmp_path / "host", host=True, size=PHI)
    assert torch.equal(pictures(trainer, 9), pictures(host, 9))
    transforms = importlib.import_module("dassl.data.transforms")
    item = trainer.dm.dataset.train_x[0]
    image, recipe = read_picture(item.impath), build_recipe(trainer.cfg)
    for seed in range(4):
        torch.manual_seed(seed)
        expected = transforms.build_transform(host.cfg, is_train=True)(image)
        view = draw_view(*image.size, recipe, torch.Generator().manual_seed(seed))
        assert torch.equal(render_view(image, view, PHI, recipe), expected)


def test_cached_and_uncached_runs_have_the_same_losses(family, tmp_path):
    lines = []
    for views in ("cached", "fresh"):
        # without a drift correction, which is fitted on as many views as are cached
        options = ("TRAINER.LOREAL.CACHE_VIEWS", 2, "TRAINER.LOREAL.DRIFT", "none")
        trainer = family.build("mmrl", tmp_path / views, *options)
        if views == "fresh":
            trainer.stage3.data.feature_loader = lambda *_, t=trainer: t.stage3.data.view_loader()
            trainer.train_loader_x = trainer.stage3.data.view_loader()
            trainer.stage3.options = type(trainer.stage3.options)(
                **{**vars(trainer.stage3.options), "cache_views": 0}
            )
        summaries = []
        step = trainer.forward_backward
        trainer.forward_backward = lambda b, step=step, log=summaries: (
            log.append(step(b)) or log[-1]
        )
        trainer.train()
        lines.append(summaries)
    assert len(lines[0]) == len(lines[1]) == 8
    for cached, fresh in zip(*lines, strict=True):
        assert cached == pytest.approx(fresh, abs=2e-4)


def test_second_run_embeds_nothing(family, tmp_path, monkeypatch):
    options = ("TRAINER.LOREAL.CACHE_DIR", tmp_path / "cache")
    family.train("coop", tmp_path / "a", *options)
    entries = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").glob("*.safetensors")}
    assert len(entries) == 2
    data = importlib.import_module("loreal_plugin.trainer.data")
    monkeypatch.setattr(data, "encode_views", None)
    family.train(
        "coop", tmp_path / "b", *options, "TRAINER.LOREAL.BRIDGE", "self", "OPTIM.MAX_EPOCH", 1
    )
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").glob("*.safetensors")} == entries


def test_students_same_gives_beta_alphas_parameters(family, tmp_path):
    options = ("TRAINER.LOREAL.STUDENTS", "same", "TRAINER.LOREAL.BETA_DIR", "")
    trainer = family.build("maple", tmp_path, *options)
    alpha, beta = trainer.model.alpha, trainer.model.beta
    assert alpha.fingerprint() == beta.fingerprint() and (alpha.input_size, beta.input_size) == (
        NATIVE,
        PHI,
    )
    apart = family.build("maple", tmp_path).model
    assert apart.alpha.fingerprint() != apart.beta.fingerprint()


@pytest.mark.parametrize("method", ["coop", "mmrl"])
def test_constant_conditioning_gives_every_image_the_same_prompt(family, tmp_path, method):
    trainer = family.train(method, tmp_path, "TRAINER.LOREAL.CONSTANT_CONDITIONING", True)
    model = trainer.model
    asked = []
    path = model.beta.text_path
    model.beta.text_path = lambda contents: asked.append(contents) or path(contents)
    with torch.no_grad():
        trainer.model_inference(pictures(trainer))
        expected = model.meta_nets(model.beta.condition(model.beta.mean[None]))
    assert torch.allclose(asked[0], expected, atol=1e-6)
    fresh = family.build(method, tmp_path / "fresh", "TRAINER.LOREAL.CONSTANT_CONDITIONING", True)
    with pytest.raises(ConfigError, match="training mean"):
        fresh.model_inference(pictures(fresh))


def test_batch_conditioning_shares_contents(family, tmp_path):
    trainer = family.build("coop", tmp_path, "TRAINER.LOREAL.CONDITIONING", "batch")
    images = pictures(trainer)
    with torch.no_grad():
        assert not torch.allclose(
            trainer.model_inference(images)[:1], trainer.model_inference(images[:1]), atol=1e-5
        )


def test_mmrl_predicts_new_classes_from_its_class_feature(family, tmp_path):
    base = family.build("mmrl", tmp_path)
    new = family.build("mmrl", tmp_path, subset="new")
    assert base.model.fusion and not new.model.fusion
    beta = new.model.beta
    features = beta.encode_image(pictures(new))
    with torch.no_grad():
        text = new.model.beta.text_path(new.model.meta_nets(features[:, 0]))
        assert torch.allclose(
            new.model_inference(pictures(new)), beta.logits(features, text, False), atol=1e-4
        )
    new.train_loader_x = base.train_loader_x
    new.test()


@pytest.mark.parametrize("method", METHODS)
def test_presets_train_where_the_method_takes_their_slots(family, tmp_path, method):
    for preset in ("paper", "authors"):
        options = ["TRAINER.LOREAL.PRESET", preset, "OPTIM.MAX_EPOCH", 1]
        if preset == "authors" and "slots_first" not in CONTRACTS[method].slot_orders:
            with pytest.raises(
                ConfigError, match="slots_first is not possible .* class_first or ctx_first"
            ):
                family.build(method, tmp_path, *options)
            options += ["TRAINER.LOREAL.SLOT_ORDER", "ctx_first"]
        trainer = family.train(method, tmp_path / preset, *options)
        assert trainer.stage3.options.preset == preset and "* accuracy: " in trainer.said


@pytest.mark.parametrize("init", ["words", "neutral"])
def test_meta_init_sets_the_start_of_the_contents(family, tmp_path, init):
    trainer = family.build("coop", tmp_path, "TRAINER.LOREAL.META_INIT", init)
    biases = torch.stack([net.up.bias.detach() for net in trainer.model.meta_nets.meta_nets])
    beta = trainer.model.beta
    texts = trainer.stage3.words if init == "words" else ["some"] * 5
    rows = [beta.token_embedding(beta.tokenize(t)[0]) for t in texts]
    ends = [int(beta.tokenize(t)[0].argmax()) for t in texts]
    expected = torch.stack([r[1:e].mean(0) for r, e in zip(rows, ends, strict=True)])
    assert torch.allclose(biases, expected.float(), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("TRAINER.LOREAL.PHI", 40), "PHI 40 .* multiple of the patch size 16 .* nearest is 32"),
        (("TRAINER.LOREAL.PHI", 16), "at least 32"),
        (("INPUT.SIZE", "(70, 70)"), "INPUT.SIZE 70 .* nearest is 64"),
        (("TRAINER.LOREAL.ALPHA_DIR", ""), "ALPHA_DIR"),
        (("INPUT.TRANSFORMS", "['colorjitter']"), "colorjitter"),
        (("DATALOADER.TRAIN_X.SAMPLER", "SeqDomainSampler"), "SeqDomainSampler"),
        (("TRAINER.LOREAL.BRIDGE", "none"), "BRIDGE"),
    ],
)
def test_wrong_settings_are_refused(family, tmp_path, options, part):
    with pytest.raises(ConfigError, match=part):
        family.build("coop", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_untrained_tokens_of_a_demo_backbone_are_counted_once(monkeypatch):
    report = importlib.import_module("loreal_plugin.trainer.notices")
    monkeypatch.setattr(report, "untrained_tokens", lambda ids, name: [i for i in ids if i > 110])
    tokenize = lambda text: torch.tensor([[0, *map(ord, text), 999]])  # noqa: E731
    assert "1 of 4 tokens" in report.untrained_note("demo", tokenize, ["ab", "b"], ["az", "a_"])
    assert report.untrained_note("demo", tokenize, ["ab", "b"], ["a_"]) == ""
    assert report.untrained_note("ViT-B/16", tokenize, ["zz"], ["zz"]) == ""
