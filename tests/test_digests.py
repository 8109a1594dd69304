"""Hashes that never change: finished runs, caches and tables are found by them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from loreal_plugin import files
from loreal_plugin.files.tensors import digest_tensors
from loreal_plugin.mining.prompts import prompts_sha256
from loreal_plugin.mining.transcript import request_key
from loreal_plugin.runs import keys
from loreal_plugin.students import embedding_cache
from loreal_plugin.students.learned import fingerprint
from loreal_plugin.weights.sources import weights_fingerprint

# Hashes: finished runs, caches and tables are found by them. The numbers are those of the first
# versions; a change that moves one makes everybody's runs and caches unknown.
VALUE = {"b": [1, 2.5, None, True], "a": {"é": 'ü "x"', "n": -0.1}}
MIXED = {
    "w": torch.arange(6.0).view(2, 3),
    "h": torch.tensor([1.5, -2], dtype=torch.float16),
    "b": torch.tensor([[1.5]], dtype=torch.bfloat16),
    "i": torch.tensor(7),
    "t": torch.arange(6).view(2, 3).t(),
}
CFG = {
    "SEED": 1,
    "INPUT": {"SIZE": (224, 224)},
    "TRAINER": {"NAME": "MaPLe", "MAPLE": {"N_CTX": 2}, "LOREAL": {"PHI": 96, "DRIFT": "ridge"}},
}


def stage_key(loreal: bool) -> str:
    config = keys.as_meant(keys.stage_config(CFG, host_node="MAPLE", loreal=loreal))
    facts = {"weights": "w", "images": "i", "host": "h"}
    return keys.stage_key(config, parents={"alpha": "1"}, attributes=["color"], **facts)


@pytest.mark.parametrize(
    ("make", "start"),
    [
        (lambda: files.digest(VALUE), "21d93dd2313c46e585266a84261f853e"),
        (lambda: request_key(VALUE), "e86491896f1e01517a2476ad6e0f2c21"),
        (lambda: stage_key(False), "f6109d3332436ba0e4790d77d367af50"),
        (lambda: stage_key(True), "4e6d405726fbd65404bd2aaae5f3b2a9"),
        (lambda: digest_tensors(MIXED.items()), "c7441bf458afb8af3ea61a4164d7a7ff"),
        (lambda: fingerprint(MIXED), "dcd2647412daceb44967f4b72d716c33"),
        (lambda: weights_fingerprint("demo"), "ab2b83973d55c94fdd57e6f37a97fd0b"),
        (lambda: weights_fingerprint("demo-2"), "f4892ddebbd832619638d4b84e506968"),
        (prompts_sha256, "bfa537f4a5567a2f6320f8b970d6cf33"),
    ],
)
def test_hashes_are_what_they_were(make, start):
    found = make()
    assert found.startswith(start) and len(found) == 64


def test_hashes_of_pictures_are_what_they_were(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 3)
    items = [
        SimpleNamespace(impath=str(tmp_path / name), label=label, classname="cat")
        for label, name in enumerate("ab")
    ]
    found = embedding_cache.pictures_digest(items)
    assert found == "6a0b1d67884e58786e97bc51544cbba4cc3e1279d8ff46da2fa32bcdb44a053e"
    dataset = SimpleNamespace(train_x=items[:1], val=None, test=items[1:])
    found = keys.images_digest(dataset, lambda path: Path(path).name)
    assert found == "258710aa09e47839f3709871ca22efc480f1a4b7d2adf0a53044eb6776bf129b"


def test_a_long_file_has_the_hash_of_its_bytes(tmp_path):
    content = np.arange(3 << 18, dtype=np.int64).tobytes()
    (tmp_path / "file").write_bytes(content)
    assert files.digest_file(tmp_path / "file") == files.digest_bytes(content)


def test_the_hash_of_sources_is_over_names_and_contents(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.py").write_text("x = 1\n")
    found = files.digest_sources([(tmp_path, tmp_path / "a" / "b.py")])
    assert found == hashlib.sha256(b"a/b.py\0x = 1\n").hexdigest()
