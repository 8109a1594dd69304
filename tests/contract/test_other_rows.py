"""Rows of methods that the embedded host does not have: stand-ins of CoCoOp and IVLP."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from stand_ins import EXTRA_METHODS
from test_text_of_hosts import assert_paths_agree, spliced
from tiny_hosts import CLASSNAMES, save_host_checkpoint, tiny_student

from loreal_plugin.attach import attach_host, detach_host
from loreal_plugin.cli.main import main
from loreal_plugin.contract import HostContract, get_contract
from loreal_plugin.contract.facts import HostFacts, missing_facts
from loreal_plugin.contract.ivlp import rows_of_block
from loreal_plugin.contract.questions import QUESTIONS, questions
from loreal_plugin.contract.trainer_names import surely_unknown, trainers_with_rows, unknown_trainer
from loreal_plugin.errors import ConfigError, HostError
from loreal_plugin.method.loreal import Loreal
from loreal_plugin.options import resolve_options
from loreal_plugin.paths import embedded_host
from loreal_plugin.runs.rivals import run_rivals
from loreal_plugin.runs.spec import build_spec
from loreal_plugin.students.build import start_meta_nets
from loreal_plugin.students.share import share_clip_tensors
from loreal_plugin.students.student import check_text_path, with_slots
from loreal_plugin.text import ReferenceTextPath
from loreal_plugin.text.reference import materialise


def text_for(student, features):
    """Return the host's text features: (C, D_v), or (B, C, D_v) where images change them."""
    prompts = student.prompts()
    if student.prompt_shift is None:
        return student.encode_text(prompts.embeddings, prompts.tokens)
    shift = student.prompt_shift(features)
    rows = prompts.embeddings.repeat(len(features), 1, 1, 1)
    rows[:, :, 1 : 1 + shift.shape[1]] += shift[:, None]
    tokens = prompts.tokens.repeat(len(features), 1)
    return student.encode_text(rows.flatten(0, 1), tokens).unflatten(0, rows.shape[:2])


@pytest.mark.parametrize("method", EXTRA_METHODS)
@pytest.mark.parametrize("size", [64, 96])
def test_logits_through_the_contract_are_the_hosts(stand_in, clip_file, method, size):
    student = tiny_student(stand_in(method), clip_file, size=size)
    images = torch.randn(3, 3, size, size)
    features = student.encode_image(images)
    got = student.logits(features, text_for(student, features))
    with torch.no_grad():
        want = student.model(images)
    assert got.shape == (3, len(CLASSNAMES)) and want.std() > 0
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-4)


def test_context_of_cocoop_depends_on_the_image_and_of_ivlp_not(stand_in, clip_file):
    shifts = {}
    for method in EXTRA_METHODS:
        student = tiny_student(stand_in(method), clip_file)
        features = student.encode_image(torch.randn(2, 3, 64, 64))
        shifts[method] = student.contract.prompt_shift(student.model, features)
        assert (student.prompt_shift is None) == (method == "ivlp")
    assert shifts["ivlp"] is None
    assert shifts["cocoop"].shape == (2, 4, 64)
    assert torch.equal(shifts["cocoop"][:, 0], shifts["cocoop"][:, 3])
    assert not torch.allclose(shifts["cocoop"][0], shifts["cocoop"][1])


@pytest.mark.parametrize("order", ["class_first", "slots_first", "ctx_first"])
def test_shifted_rows_are_the_hosts_context_wherever_it_stands(stand_in, clip_file, order):
    student = tiny_student(stand_in("cocoop"), clip_file)
    prompts, shift = spliced(student, order), torch.randn(2, 4, 64)
    contents = torch.randn(2, 3, 64)
    plain, shifted = (materialise(prompts, contents, shift=s) for s in (None, shift))
    moved = (plain != shifted).any(dim=-1)  # (B, C, L)
    context = (prompts.source >= 1) & (prompts.source <= 4)
    assert torch.equal(moved, context.expand_as(moved)) and context.sum() == 4 * len(CLASSNAMES)
    rows = (shifted - plain)[:, context].unflatten(1, (len(CLASSNAMES), 4))
    torch.testing.assert_close(rows, shift[:, None].expand_as(rows), rtol=1e-4, atol=1e-5)


def test_text_of_shifted_prompts_is_the_hosts_and_does_not_depend_on_chunks(stand_in, clip_file):
    student = tiny_student(stand_in("cocoop"), clip_file)
    prompts = spliced(student, "class_first")
    shift, contents = torch.randn(2, 4, 64), torch.randn(2, 3, 64)
    whole, parts = (
        ReferenceTextPath(prompts, student.encode_text, chunk)(contents, shift=shift)
        for chunk in (0, 1)
    )
    torch.testing.assert_close(whole, parts, rtol=1e-5, atol=1e-5)
    rows = materialise(prompts, contents[1:], torch.tensor([2]), shift[1:])[0]
    want = student.encode_text(rows, prompts.tokens[2:3])
    torch.testing.assert_close(whole[1, 2:3], want, rtol=1e-5, atol=1e-5)


def model_of(student, **keys):
    """Return the deployed model of a student alone, with two attributes."""
    options = resolve_options(
        {"TEXT_PATH": "reference", "N_ATTRIBUTES": 2, "META_INIT": "default", **keys}
    )
    student = with_slots(student, ["color", "shape"], options)
    nets = start_meta_nets(student, 64, options, seed=1)
    return Loreal(None, student, nets, options, fusion=False)


@pytest.mark.parametrize("keys", [{}, {"CONDITIONING": "batch"}, {"CONSTANT_CONDITIONING": True}])
def test_own_prompts_of_cocoop_stay_the_images_under_every_conditioning(stand_in, clip_file, keys):
    student = tiny_student(stand_in("cocoop"), clip_file)
    model = model_of(student, **keys)
    features = student.encode_image(torch.randn(3, 3, 64, 64))
    model.beta.mean = features.mean(0)
    together = model.predict(features).detach()
    if "CONDITIONING" not in keys:
        alone = torch.cat([model.predict(row[None]) for row in features]).detach()
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-3)
    with torch.no_grad():
        bias = student.model.prompt_learner.meta_net.linear2.bias
        bias.add_(torch.randn_like(bias))  # not a constant: layer norms take that out again
    assert not torch.allclose(model.predict(features).detach(), together)


def test_prefix_path_is_refused_where_prompts_depend_on_the_image():
    options = resolve_options({})
    with pytest.raises(
        ConfigError, match="'cocoop', whose own context depends on the image.*TEXT_PATH reference"
    ):
        check_text_path(get_contract("cocoop"), options)
    check_text_path(get_contract("ivlp"), options)


@pytest.mark.parametrize("rounds", [True, False])
@pytest.mark.parametrize("order", ["class_first", "ctx_first"])
def test_prefix_path_of_ivlp_equals_the_host_rounded_or_not(
    stand_in, clip_file, monkeypatch, rounds, order
):
    student = tiny_student(stand_in("ivlp"), clip_file)
    monkeypatch.setattr(sys.modules["trainers.independentVL"], "ROUNDS", rounds)
    block = student.model.text_encoder.transformer.resblocks[1]
    half = block.VPT_shallow.half().float()
    assert not torch.equal(half, block.VPT_shallow)
    assert torch.equal(rows_of_block(block, 77), half if rounds else block.VPT_shallow)
    assert_paths_agree(student, order)


def test_slots_before_the_rows_that_ivlp_overwrites_are_refused():
    with pytest.raises(
        ConfigError, match="SLOT_ORDER slots_first is not possible for method 'ivlp'"
    ):
        check_text_path(get_contract("ivlp"), resolve_options({"SLOT_ORDER": "slots_first"}))


LEARNED = {
    "cocoop": {
        "prompt_learner.ctx",
        *(f"prompt_learner.meta_net.linear{i}.{p}" for i in (1, 2) for p in ("weight", "bias")),
    },
    "ivlp": {
        "prompt_learner.ctx",
        "image_encoder.VPT",
        *(
            f"{tower}.transformer.resblocks.{i}.VPT_shallow"
            for i in (1, 2)
            for tower in ("image_encoder", "text_encoder")
        ),
    },
}


@pytest.mark.parametrize("method", EXTRA_METHODS)
def test_what_was_learned_is_loaded_and_is_not_shared(stand_in, clip_file, method, tmp_path):
    host = stand_in(method)
    trained = [tiny_student(host, clip_file, size=size, seed=size) for size in (64, 96)]
    folders = [save_host_checkpoint(s, tmp_path / str(s.input_size)) for s in trained]
    alpha, beta = (
        tiny_student(host, clip_file, size=s.input_size, checkpoint_dir=folder)
        for s, folder in zip(trained, folders, strict=True)
    )
    assert set(alpha.learned) == LEARNED[method]
    assert [s.fingerprint() for s in (alpha, beta)] == [s.fingerprint() for s in trained]
    images = torch.randn(2, 3, 96, 96)
    before = beta.model(images)
    report = share_clip_tensors(alpha, beta)
    assert torch.equal(beta.model(images), before)
    assert set(report.not_shared) == LEARNED[method] | {"image_encoder.positional_embedding"}


@pytest.mark.parametrize("method", EXTRA_METHODS)
def test_host_without_the_trainer_is_told_where_it_is(method):
    detach_host()
    with pytest.raises(HostError) as caught:
        attach_host(embedded_host(), method)
    text = str(caught.value)
    assert f"method '{method}'" in text and "methods found there: coop, maple, mma, mmrl" in text
    assert "muzairkhattak/multimodal-prompt-learning" in text and "HOST" in text


def test_every_question_is_one_of_the_contract():
    known = {*dir(HostContract), *HostFacts.__annotations__}
    assert {name for name, _ in QUESTIONS} <= known


def test_what_every_row_has_to_give_is_asked_first():
    needed = missing_facts(HostFacts)
    assert {"method", "loreal_trainer", "trainer"} <= set(needed)
    asked = [name for name, _ in questions()]
    assert asked[: len(needed)] == needed and len(asked) == len(set(asked)) == len(QUESTIONS)
    assert needed == [name for name, _ in QUESTIONS if name in needed], "each has a text"


@pytest.mark.parametrize(
    "kind, name", [("trainer", "VPT_LOREAL"), ("trainer", "VPT"), ("method", "vpt")]
)
def test_trainer_without_a_row_gets_the_questions(tmp_path, kind, name):
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "vpt.py").write_text(
        "@TRAINER_REGISTRY.register()\nclass VPT(TrainerX):\n    pass\n"
    )
    (tmp_path / "trainers" / "broken.py").write_text("def (")
    text = unknown_trainer(kind, name, ["coop", "maple"], tmp_path)
    assert (
        text.startswith("trainer 'VPT' (trainers/vpt.py) has no row")
        and "docs/ADD_A_HOST.md" in text
    )
    assert all(f"{name} ({what})" in text for name, what in questions()) and "\n" not in text
    assert unknown_trainer(kind, "mapel", ["coop", "maple"], tmp_path).startswith(
        f"unknown {kind} 'mapel'; did you"
    )
    assert "no row" not in unknown_trainer(kind, "CoOp_x", ["coop"], tmp_path)


def test_rivals_are_refused_where_no_text_serves_all_images(tmp_path):
    spec = build_spec("cocoop", "32", out=str(tmp_path), env={})
    with pytest.raises(ConfigError, match="prompts of method 'cocoop' differ from image to image"):
        run_rivals(spec)


@pytest.mark.parametrize(
    "method, node, want",
    [
        ("cocoop", {"CTX_INIT": "a_photo of", "N_CTX": 4}, "a photo of {}."),
        ("cocoop", {"CTX_INIT": "", "N_CTX": 3}, "X X X {}."),
        ("ivlp", {"CTX_INIT": "a photo of a", "N_CTX_TEXT": 2}, "a photo of a {}."),
        ("ivlp", {"CTX_INIT": "a photo of a", "N_CTX_TEXT": 5}, "X X X X X {}."),
    ],
)
def test_length_of_prompts_is_counted_on_the_hosts_own_words(method, node, want):
    cfg = SimpleNamespace(TRAINER={get_contract(method).cfg_node: node})
    assert get_contract(method).prompt_template(cfg) == want


@pytest.mark.parametrize("method", EXTRA_METHODS)
def test_a_run_with_the_usual_settings_is_not_refused(stand_in, method, tmp_path, capsys):
    words = ["base2new", method, "96", "--host", str(stand_in(method).path), "--dry-run"]
    code = main([*words, "--until", "adapted", "--out", str(tmp_path)])
    assert code == 0, capsys.readouterr().err


def test_names_found_by_parsing_are_those_of_the_rows(tmp_path):
    names = trainers_with_rows()
    assert [name for name in names if surely_unknown(name, tmp_path)] == []
    told = surely_unknown("CoOpp", tmp_path)
    assert told == unknown_trainer("trainer", "CoOpp", names, tmp_path), (
        "the same list, without rows"
    )
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "vpt.py").write_text("@TRAINER_REGISTRY.register()\nclass VPT: pass\n")
    assert not surely_unknown("VPT_LOREAL", tmp_path), "the questions are for a trainer of the host"
