"""Copies of a configuration."""

from __future__ import annotations

import pytest
from yacs.config import CfgNode

from loreal_plugin.config import with_settings


def config() -> CfgNode:
    cfg = CfgNode({"SEED": 1, "INPUT": {"SIZE": (224, 224), "NAMES": ["a"]}})
    cfg.freeze()
    return cfg


def test_the_copy_has_the_values_and_the_original_keeps_its_own():
    cfg = config()
    found = with_settings(cfg, {"INPUT.SIZE": (96, 96), "SEED": 2})
    assert (found.INPUT.SIZE, found.SEED, found.INPUT.NAMES) == ((96, 96), 2, ["a"])
    assert cfg == config() and cfg.is_frozen() and found.is_frozen()


def test_lists_of_json_become_tuples_where_tuples_stood():
    found = with_settings(config(), {"INPUT.SIZE": [96, 96], "INPUT.NAMES": ["b"]})
    assert found.INPUT.SIZE == (96, 96) and found.INPUT.NAMES == ["b"]


@pytest.mark.parametrize("key", ["NEW", "INPUT.NEW", "NEW.SIZE"])
def test_a_key_that_is_not_there_is_an_error(key: str):
    with pytest.raises(KeyError, match="NEW"):
        with_settings(config(), {key: 1})
