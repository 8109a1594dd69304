"""Larger sets of classes: their names, their families, their datasets, a CLIP that learns them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_runs import write_run

from benchmarks.demo_world import captions, scale, scale_table
from benchmarks.demo_world.class_sets import DEMO, MORE_NAMES, class_set
from benchmarks.demo_world.pool import open_pool
from benchmarks.demo_world.pretrain import Pretrainer, tiny
from benchmarks.demo_world.tokens import token_table
from loreal_plugin.demo import world
from loreal_plugin.errors import LorealError
from loreal_plugin.runs.spec import parse_overrides


def look(spec):
    return spec.shape, frozenset(spec.patterns), frozenset(spec.marks)


def test_the_smallest_set_is_the_world_itself():
    assert class_set(20) is DEMO and DEMO.names == world.NAMES
    drawn = [
        source(7, np.random.default_rng(5)) for source in (DEMO.sample, world.sample_attributes)
    ]
    assert (drawn[0] == drawn[1]).all()


@pytest.mark.parametrize("per_half", [60, 120])
def test_larger_sets_have_the_same_families_and_no_two_look_alike(per_half):
    classes = class_set(per_half)
    assert len(classes) == len(set(classes.names)) == len(set(classes.specs)) == 2 * per_half
    groups = classes.families()
    sizes, own = ([len(g) for g in found] for found in (groups, world.families()))
    assert sorted(sizes) == sorted(own * (per_half // 20))
    assert len({look(classes.specs[group[0]]) for group in groups}) == len(groups)
    halves = [{label < per_half for label in group} for group in groups]
    assert all(len(half) == 1 for half in halves)  # a family never stands in both halves


def test_every_name_is_one_token_and_no_other_word():
    assert len(MORE_NAMES) == 240 and not set(MORE_NAMES) & set(captions.vocabulary())
    table = token_table(tuple(MORE_NAMES))  # raises where a name is more than one token
    assert len(table) == len(token_table()) - len(world.NAMES) + len(MORE_NAMES)


@pytest.mark.parametrize("per_half", [0, 30, 140])
def test_what_there_cannot_be_is_refused(per_half):
    with pytest.raises(ValueError, match=f"{per_half} base classes: there can be 20, 40"):
        class_set(per_half)


def test_a_clip_learns_a_larger_set(tmp_path, tiny_config):
    config = replace(tiny(tiny_config, 2), per_half=40, image_share=0.0)
    pool = open_pool(tmp_path, config.pool_size, class_set(40))
    assert pool.labels.max() >= world.NUM_CLASSES
    trainer = Pretrainer(config, pool)
    assert trainer.heads.token.out_features - len(class_set(40)) == len(
        sum(world.VALUES.values(), ())
    )
    before = trainer.model.token_embedding.weight.detach().clone()
    losses = trainer.train_step()
    assert all(np.isfinite(value) for value in losses.values())
    name = token_table(class_set(40).names).encode([[class_set(40).names[79]]])[0, 1]
    assert not np.allclose(before[name], trainer.model.token_embedding.weight[name].detach())


def test_a_set_is_drawn_as_a_dataset_of_own_pictures(tmp_path, monkeypatch):
    for name, value in (("TRAINING", 20), ("TESTS", 20), ("VALIDATION", 1)):
        monkeypatch.setattr(scale, name, value)
    folder = scale.draw_dataset(20, tmp_path)
    assert sorted(path.name for path in (folder / "train").iterdir()) == [
        f"{i:03d}" for i in range(40)
    ]
    lines = (folder / "classnames.txt").read_text("utf-8").splitlines()
    assert lines[0] == "000 anchor" and lines[20] == "020 barrel"
    first = (folder / "test" / "000" / "000.jpg").read_bytes()
    assert first != (folder / "train" / "000" / "000.jpg").read_bytes()
    (folder / "test" / "000" / "000.jpg").unlink()
    scale.draw_dataset(20, tmp_path)
    assert (folder / "test" / "000" / "000.jpg").read_bytes() == first


def test_all_sets_have_the_same_number_of_pictures():
    for per_half in (20, 60, 120):
        counts = scale.pictures_of_a_class(per_half)
        assert (counts["train"] * per_half, counts["test"] * per_half) == (480, 3000)
    with pytest.raises(ValueError, match="cannot be shared evenly among 140"):
        scale.pictures_of_a_class(140)


def test_the_table_has_a_row_a_student_and_a_column_a_number(tmp_path):
    words = ["TRAINER.LOREAL.ATTRIBUTES", "demo"]
    constant = [*words, "TRAINER.LOREAL.CONSTANT_CONDITIONING", "True"]
    for number, asked, seed in ((20, words, 1), (20, words, 2), (60, constant, 1)):
        overrides = [[o.scope, o.key, o.value] for o in parse_overrides(asked)]
        dataset = f"scale-{number}"
        write_run(tmp_path, method="coop", dataset=dataset, seed=seed, overrides=overrides)
    table = scale_table.collect(tmp_path)
    found = {title: {n: len(pairs) for n, pairs in of.items()} for title, of in table.items()}
    assert found == {
        "host, trained and tested at 224": {20: 2},
        "host trained at 224, tested at 96": {20: 2},
        "host, trained and tested at 96": {20: 2},
        "+ LOREAL, default": {20: 2},
        "+ LOREAL, constant conditioning": {60: 1},
    }
    lines = scale_table.markdown(table).splitlines()
    assert lines[0] == "| base / new / HM | 20 base classes | 60 base classes |"
    last, (base, new) = lines[-1], table["+ LOREAL, constant conditioning"][60][0]
    mean = 2 * base * new / (base + new)
    assert last.endswith(f"|  | {base:.1f} / {new:.1f} / **{mean:.1f}** |")
    scale_table.plot(table, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(LorealError, match="no finished run of the plan"):
        scale_table.collect(tmp_path / "nothing")
