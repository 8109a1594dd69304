"""Types of configuration values: numbers meet half way, the rest is refused with what helps."""

from __future__ import annotations

import pytest
from yacs import config

from loreal_plugin.attach.value_types import numbers_that_fit, undeclared_keys_named
from loreal_plugin.errors import ConfigError


def host_node() -> config.CfgNode:
    return config.CfgNode(
        {"T": config.CfgNode({"SCALE": 1.0, "DEPTH": 9, "NAME": "a", "ON": True})}
    )


@pytest.mark.parametrize(
    ("key", "value", "wanted"), [("SCALE", 2, 2.0), ("DEPTH", 3.0, 3), ("SCALE", 0.5, 0.5)]
)
def test_a_number_that_fits_is_taken_over(key, value, wanted):
    strict = config._check_and_coerce_cfg_value_type
    node = host_node()
    with numbers_that_fit():
        node.merge_from_list([f"T.{key}", value])
        other = host_node()
        other.merge_from_other_cfg(config.CfgNode({"T": config.CfgNode({key: value})}))
    for found in (node.T[key], other.T[key]):
        assert found == wanted and type(found) is type(wanted)
    assert config._check_and_coerce_cfg_value_type is strict


@pytest.mark.parametrize(
    ("key", "value"), [("DEPTH", 2.5), ("NAME", 1), ("ON", 1), ("DEPTH", True)]
)
def test_what_does_not_fit_is_told_with_what_helps(key, value):
    with numbers_that_fit(), pytest.raises(ConfigError) as caught:
        host_node().merge_from_list([f"T.{key}", value])
    text = str(caught.value)
    assert f"T.{key} is {type(host_node().T[key]).__name__} in this host" in text
    assert repr(value) in text and f"-- T.{key} VALUE" in text


def test_a_key_that_a_host_does_not_declare_is_named(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("T: {NEWER: 1}")
    for merge in (
        lambda: host_node().merge_from_file(str(recipe)),
        lambda: host_node().merge_from_list(["T.NEWER", 1]),
    ):
        with pytest.raises(ConfigError, match=r"not declare the key (T\.)?NEWER,.* leave it out"):
            with undeclared_keys_named():
                merge()
    with pytest.raises(KeyError, match="another"), undeclared_keys_named():
        raise KeyError("another")
