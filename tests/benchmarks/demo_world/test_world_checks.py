"""The tests T1 to T6 run, and their parts measure what they say."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from benchmarks.demo_world import probes
from benchmarks.demo_world.__main__ import main
from benchmarks.demo_world.checker import CheckConfig, Checker, shuffle_within_classes
from benchmarks.demo_world.tokens import token_table
from loreal_plugin.demo import world
from loreal_plugin.weights import import_clip


@pytest.fixture(scope="module")
def checker(tiny_weights):
    return Checker(tiny_weights, CheckConfig.quick())


def test_quick_check_prints_every_test_and_writes_json(tiny_weights, tmp_path, capsys):
    out = tmp_path / "check.json"
    arguments = ["check", "--weights", tiny_weights, "--quick", "--threads", 1, "--json", out]
    code = main([str(word) for word in arguments])
    printed, stored = capsys.readouterr().out, json.loads(out.read_text())
    tests = [result["test"] for result in stored["results"]]
    assert tests == ["T1", "T2", "T3", "T3b", "T4", "T5", "T6"]
    assert all(f"\n{test} " in f"\n{printed}" for test in tests)
    assert [r["required"] for r in stored["results"]] == [
        True,
        True,
        True,
        False,
        False,
        True,
        False,
    ]
    required = [result["met"] for result in stored["results"] if result["required"]]
    assert code == (0 if all(required) else 1)


def test_check_names_missing_weights(tmp_path, capsys):
    arguments = ["check", "--weights", tmp_path / "none.safetensors"]
    assert main([str(word) for word in arguments]) == 2
    assert "none.safetensors" in capsys.readouterr().err


def test_build_refuses_to_replace_a_checkpoint(tmp_path, capsys):
    (tmp_path / "new.pt").write_bytes(b"")
    arguments = ["build", "--out", tmp_path / "new.safetensors"]
    assert main([str(word) for word in arguments]) == 2
    assert "--resume" in capsys.readouterr().err


def test_zero_shot_uses_each_half_on_its_own(checker):
    scores = checker.score("test", 96)
    rows = checker.rows("test", "new")
    prompts = checker.halves["new"]
    guess = prompts.predict(checker.store.features("test", 96)[rows.index], prompts.plain_context)
    assert scores["new"] == probes.accuracy(guess, rows.target)
    assert int(rows.target.max()) == 19 and len(rows.index) == 60


def test_plain_prompt_is_the_hosts_prompt(checker):
    clip = import_clip()
    prompts = checker.halves["base"]
    tokens = clip.tokenize([f"a photo of a {world.NAMES[label]}." for label in world.BASE_CLASSES])
    with torch.no_grad():
        expected = checker.model.encode_text(tokens)
        found = prompts.features(prompts.plain_context)
    assert torch.allclose(found, expected / expected.norm(dim=-1, keepdim=True), atol=1e-5)


def test_slots_with_value_words_are_the_written_caption(checker):
    clip = import_clip()
    prompts, rows = checker.halves["base"], checker.rows("test", "base")
    contents = checker.contents("true")["base"][:1]
    values = [
        world.VALUES[name][rows.attributes[0][k]] for k, name in enumerate(world.SLOT_ATTRIBUTES)
    ]
    slots = " ".join(
        f"{value} {value} {name}" for value, name in zip(values, world.SLOT_ATTRIBUTES, strict=True)
    )
    tokens = clip.tokenize([f"a photo of a {world.NAMES[3]} with {slots}."])
    with torch.no_grad():
        expected = checker.model.encode_text(tokens)[0]
        found = prompts.slot_features(prompts.plain_context, contents)[0, 3]
    assert torch.allclose(found, expected / expected.norm(), atol=1e-5)


def test_shuffled_words_come_from_other_pictures_of_the_same_class(checker):
    rows = checker.rows("test", "base")
    order = shuffle_within_classes(rows.target.numpy(), seed=0)
    assert sorted(order) == list(range(len(order)))
    assert (rows.target.numpy()[order] == rows.target.numpy()).all()
    assert (order != np.arange(len(order))).all()


def test_contexts_and_slots_learn_their_pictures(checker):
    prompts, generator = checker.halves["base"], torch.Generator().manual_seed(0)
    target = torch.arange(4)
    with torch.no_grad():
        text = prompts.features(prompts.plain_context)[:4]
    features = torch.nn.functional.normalize(
        text + 0.3 * torch.randn(text.shape, generator=generator), dim=-1
    )
    start = checker.model.token_embedding(token_table().encode_full([["some"]])[0, 1])

    def loss(text_features):
        logits = 20 * torch.einsum("ne,nce->nc", features, text_features)
        return float(torch.nn.functional.cross_entropy(logits, target))

    context = probes.train_context(prompts, features, target, lr=0.1, steps=40, seed=0)
    nets = probes.train_slots(prompts, features, target, start=start, lr=0.1, steps=40, seed=0)
    with torch.no_grad():
        plain = prompts.features(prompts.plain_context).expand(4, -1, -1)
        assert loss(prompts.features(context).expand(4, -1, -1)) < loss(plain)
        untrained = prompts.slot_features(prompts.plain_context, start.expand(4, 5, -1))
        assert loss(prompts.slot_features(prompts.plain_context, nets(features))) < loss(untrained)


def test_linear_probe_separates_what_is_separable():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 8, generator=generator) * 3
    target = torch.arange(60) % 3
    features = centres[target] + torch.randn(60, 8, generator=generator) * 0.3
    assert probes.accuracy(probes.linear_probe(features, target, features, 3), target) == 100


def test_few_shot_rows_are_drawn_per_class():
    labels = np.arange(5).repeat(6)
    rows = probes.few_shot_rows(labels, [1, 3], shots=4, seed=1)
    assert labels[rows].tolist() == [1] * 4 + [3] * 4
    assert not np.array_equal(rows, probes.few_shot_rows(labels, [1, 3], shots=4, seed=2))


def test_harmonic_mean():
    assert probes.harmonic_mean(60, 30) == pytest.approx(40) and probes.harmonic_mean(0, 0) == 0
