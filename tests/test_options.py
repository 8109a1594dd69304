"""The options: one table row a key, presets complete, all faults in one message."""

from __future__ import annotations

import dataclasses

import pytest
from yacs.config import CfgNode

from loreal_plugin.cli.options import options_table
from loreal_plugin.errors import ConfigError
from loreal_plugin.options import LorealOptions, add_loreal_node, options_dict, resolve_options
from loreal_plugin.presets import GUESSES, PRESETS, describe_presets

NAMES = [f.name for f in dataclasses.fields(LorealOptions)]


def make_cfg() -> CfgNode:
    cfg = CfgNode({"TRAINER": CfgNode({"NAME": ""})})
    add_loreal_node(cfg)
    return cfg


def test_node_has_every_option_and_is_added_once():
    cfg = make_cfg()
    assert sorted(cfg.TRAINER.LOREAL) == sorted(n.upper() for n in NAMES)
    cfg.TRAINER.LOREAL.PHI = 64
    add_loreal_node(cfg)
    assert cfg.TRAINER.LOREAL.PHI == 64


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_presets_set_the_same_keys_and_resolve(preset):
    assert set(PRESETS[preset]) == set(PRESETS["paper"])
    cfg = make_cfg()
    cfg.TRAINER.LOREAL.PRESET = preset
    options = resolve_options(cfg.TRAINER.LOREAL)
    for name, value in PRESETS[preset].items():
        assert getattr(options, name) == value
    assert options.enabled and options.preset == preset


def test_presets_hold_the_published_and_the_authors_values():
    paper, authors = PRESETS["paper"], PRESETS["authors"]
    assert (paper["bridge"], paper["hld_temperature"], paper["lld_weight"]) == ("cross", 4.0, 2.0)
    assert [authors[k] for k in ("bridge", "slot_order", "views")] == [
        "mix",
        "slots_first",
        "independent",
    ]
    assert authors["hld_temperature"] == authors["lld_temperature"] == 1.0
    mix = {"mix_start": 0.0, "mix_max": 1.0, "mix_alpha": "own", "mix_steps": "epoch"}
    assert {key: authors[key] for key in mix} == mix and authors["cross_weight"] == 0.1
    assert paper["position_resampling"] == authors["position_resampling"] == "bicubic_antialias"
    assert set(GUESSES) <= set(paper)


def test_presets_of_other_commits_are_told_by_what_differs():
    earlier = PRESETS["authors-2bf828e"]
    assert (earlier["bridge"], earlier["cross_weight"]) == ("cross", 0.0)
    told = describe_presets()
    assert told == "`authors-2bf828e` is `authors` with BRIDGE cross, CROSS_WEIGHT 0.0"
    assert told in options_table()


def test_explicit_keys_win_over_the_preset_also_through_yacs_lists():
    cfg = make_cfg()
    given = {"PRESET": "authors", "BRIDGE": "self", "HLD_TEMPERATURE": "2", "META_BIAS": "False"}
    cfg.merge_from_list(
        [part for key, value in given.items() for part in (f"TRAINER.LOREAL.{key}", value)]
    )
    options = resolve_options(cfg.TRAINER.LOREAL)
    assert (
        options.bridge == "self" and options.hld_temperature == 2.0 and options.meta_bias is False
    )
    assert isinstance(options.hld_temperature, float)
    assert options.slot_order == "slots_first"


def test_all_faults_are_reported_at_once():
    given = {"BRIDGE": "sideways", "PHI": 0, "HLD_TEMPERATURE": 0.0, "META_BIAS": "yes", "PHY": 96}
    with pytest.raises(ConfigError) as caught:
        resolve_options(given)
    text = str(caught.value)
    for part in ("sideways", "PHI", "HLD_TEMPERATURE", "META_BIAS", "PHY", "did you mean 'PHI'"):
        assert part in text


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"META_INIT": "words", "META_BIAS": False}, "META_BIAS"),
        ({"CONSTANT_CONDITIONING": True, "CACHE_VIEWS": 0}, "CACHE_VIEWS"),
        ({"PRESET": "papper"}, "did you mean 'paper'"),
        ({"MIX_MAX": 1.5}, "above 1.0"),
        ({"ENABLED": 1}, "wanted bool"),
        ({"HLD_WEIGHT": float("nan")}, "HLD_WEIGHT"),
    ],
)
def test_wrong_values_are_named(given, part):
    with pytest.raises(ConfigError, match=part):
        resolve_options(given)


def test_table_has_a_row_for_every_key_and_dict_keeps_values():
    rows = options_table().splitlines()[2:]
    assert [r.split("`")[1] for r in rows] == [n.upper() for n in NAMES]
    assert all(f.metadata["help"] for f in dataclasses.fields(LorealOptions))
    assert options_dict(resolve_options({"PHI": 64}))["PHI"] == 64
