"""Shipped weights are those of the release, or are refused."""

from __future__ import annotations

import pytest

from loreal_plugin.demo import weights
from loreal_plugin.errors import WeightsError
from loreal_plugin.weights import load_clip_state_dict


def test_shipped_weights_have_the_hashes_of_the_release():
    assert weights.SHA256.keys() == weights.DEMO_WEIGHTS.keys()
    for name in weights.SHA256:
        weights.check_shipped(name)


def test_a_flipped_bit_in_shipped_weights_is_refused(tmp_path, monkeypatch):
    content = bytearray(weights.weights_file("demo").read_bytes())
    content[len(content) // 2] ^= 4
    (tmp_path / "demo.safetensors").write_bytes(content)
    monkeypatch.setattr(weights, "weights_file", lambda _name: tmp_path / "demo.safetensors")
    with pytest.raises(WeightsError, match="is not the file that this release ships.* again"):
        load_clip_state_dict("demo")
    with pytest.raises(ValueError, match="is not the file"):
        weights.check_shipped("demo")
