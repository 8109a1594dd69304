"""The control world: a name is ambiguous without the light, and the word for it tells the class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.control import PLAIN
from benchmarks.control_world import rules, table
from benchmarks.control_world.oracle import Oracle
from benchmarks.control_world.tuning import Recipe, write_weights
from loreal_plugin.demo import world
from loreal_plugin.errors import LorealError
from loreal_plugin.sweep.plan_file import read_plan
from loreal_plugin.sweep.planned_runs import Locations, expand

# an eighth of the pictures and steps that the world itself takes, with captions of the light alone
SHORT = Recipe(
    pictures=200,
    steps=80,
    batch=12,
    name_rate=3e-2,
    text_rate=5e-3,
    bare=0.1,
    told=1.0,
    other=0.0,
)


@pytest.mark.parametrize("half", rules.HALVES)
def test_a_name_is_ambiguous_without_the_light(half: str) -> None:
    labels = list(rules.HALVES[half])
    for label in labels:
        partners = [other for other in labels if rules.RULES[other] == rules.RULES[label][::-1]]
        assert len(partners) == 1 and partners != [label]
    # with the light each pattern is of one class, so nothing but the light is missing
    for shown in range(len(world.VALUES[rules.TELLS])):
        patterns = [rules.RULES[label][shown] for label in labels]
        assert sorted(patterns) == list(range(len(world.VALUES[rules.IDENTITY])))


def test_no_pair_of_patterns_is_in_both_halves() -> None:
    pairs = {half: {frozenset(rules.RULES[i]) for i in rules.HALVES[half]} for half in rules.HALVES}
    assert not pairs["base"] & pairs["new"] and list(rules.NAMES) == sorted(rules.NAMES)


def test_a_picture_shows_its_class_and_is_the_same_each_time() -> None:
    seen = []
    for half, labels in rules.HALVES.items():
        for part, label, index in rules.keys("test", half, 8):
            attributes, _ = rules.picture(part, label, index)
            assert rules.label_of(attributes, half) == label - labels[0]
            seen.append(attributes)
    assert len(np.unique(np.stack(seen), axis=0)) > 80  # of 96 pictures
    assert rules.jpeg("test", 3, 1) == rules.jpeg("test", 3, 1) != rules.jpeg("train", 3, 1)


def test_the_word_for_the_light_tells_the_class(tmp_path: Path) -> None:
    weights = write_weights(tmp_path / "clip.safetensors", SHORT)
    scores = Oracle(weights, per_class=12).scores(224)
    told, bare, wrong = (
        np.mean(scores[title])
        for title in ("the true light", "the name alone", "the light of another picture")
    )
    assert told > bare + 8 and told > wrong + 8


def test_the_table_finds_the_runs_of_the_plans(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / rules.NAME).mkdir()
    monkeypatch.setenv("CLIP_WEIGHTS", "demo")
    places = Locations(tmp_path / "out", str(tmp_path))
    runs = [run for plan in table.PLANS for run in expand(read_plan(plan), places)]
    ours = [run for run in runs if run.spec.method == "coop" and run.spec.shots == 64]
    for number, run in enumerate(ours):
        score = {"base": {"accuracy": number}, "new": {"accuracy": number + 0.5}}
        # as a record has them: the inference mode stands elsewhere
        asked = [o for o in run.spec.overrides if not o.key.endswith(".INFERENCE")]
        overrides = [[o.scope, o.key, o.value] for o in asked]
        rows = [{"name": "phi", **score}, {"name": "loreal", **score}]
        found = table.by_variant([{"seed": run.seed, "overrides": overrides, "rows": rows}])
        assert found[run.variant] == {run.seed: [number, number + 0.5]}
    assert {PLAIN, *table.FIRST} < {run.variant for run in ours}
    with pytest.raises(LorealError, match="no finished run 'instance conditioning' of coop"):
        table.run_table(tmp_path, "coop", 64)
