"""Packages that somebody made by hand: hashes fit, and what they say is wrong or means harm."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file

from loreal_plugin.digests import digest_file
from loreal_plugin.edge.head import NOTE, read_head
from loreal_plugin.edge.layout import MANIFEST, SUMS, schema_file, sums_of
from loreal_plugin.edge.package import Package
from loreal_plugin.edge.selftest import self_test
from loreal_plugin.errors import CheckpointError
from loreal_plugin.files.schema import fault_of

SCHEMA = json.loads(schema_file().read_text(encoding="utf-8"))
OTHERS = [None, True, 1, -1, 0.5, "", "x", [], [1], ["a"], {}, {"a": 1}, "loreal-package"]
TEXT = {"file": "t", "merges": "m", "before": [1], "after": [2], "length": 9, "fusion": [1.0]}


@pytest.fixture
def forge(package_of: Callable, tmp_path: Path) -> Callable[[str, Any], Path]:
    """Give a function that copies a package, sets an entry of its description, and mends hashes."""

    def make(where: str = "", value: Any = None) -> Path:
        folder = tmp_path / "package"
        if not folder.is_dir():
            shutil.copytree(package_of().folder, folder)
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, facts in manifest["files"].items():
            facts["sha256"] = digest_file(folder / name)
        *inner, last = where.split(".") if where else ("new",)
        place = manifest
        for key in inner:
            place = place[key]
        place[last] = value
        content = json.dumps(manifest).encode()
        (folder / MANIFEST).write_bytes(content)
        (folder / SUMS).write_text(sums_of(content, manifest["files"]))
        return folder

    return make


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("heads", {}, "heads is empty"),
        ("heads", [], r"heads is \[\], not object"),
        ("heads.toy.labels", "ab", "heads.toy.labels is 'ab', not array"),
        ("heads.toy.file", "../../secret.onnx", "lies outside the package"),
        ("picture.size", "big", "picture.size is 'big', not integer"),
        ("picture.size", 10**9, "encoder.onnx does not read pictures of 1000000000 pixels"),
        ("files", {"/dev/zero": {"sha256": "0" * 64, "bytes": 1}}, "lies outside the package"),
        ("files", {"../x": {"sha256": "0" * 64, "bytes": 1}}, "lies outside the package"),
        ("text", {"file": "text.onnx"}, "text lacks merges, before"),
        ("versions", None, "versions is None, not object"),
        ("schema_version", 2, r"schema version 2; this release reads .* of version 1"),
    ],
)
def test_a_description_that_is_wrong_is_refused_in_a_sentence(
    forge: Callable, where: str, value: Any, said: str
) -> None:
    with pytest.raises(CheckpointError, match=said):
        Package.open(forge(where, value))


def test_a_schema_version_from_the_future_is_named_whatever_else_it_has(forge: Callable) -> None:
    folder = forge("versions", "seven")
    manifest = json.loads((folder / MANIFEST).read_text()) | {"schema_version": 9}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"the release that wrote it \(unknown\)"):
        Package.open(folder)


def test_two_heads_with_one_file_are_refused(forge: Callable) -> None:
    heads = json.loads((forge() / MANIFEST).read_text())["heads"]
    with pytest.raises(CheckpointError, match=r"one file for several heads.*; export the run"):
        Package.open(forge("heads", heads | {"other": heads["toy"]}))


def test_golden_pictures_that_are_none_are_refused(forge: Callable) -> None:
    (forge() / "golden.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(CheckpointError, match="golden.npz holds no golden pictures"):
        self_test(Package.open(forge()))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("pixels", lambda found: found[:3]),
        ("logits", lambda found: found[:0]),
        ("logits", lambda found: found[:, :1]),
        ("logits", lambda found: found.astype(str)),
    ],
)
def test_golden_pictures_of_another_shape_are_refused(
    forge: Callable, name: str, change: Callable
) -> None:
    path = forge() / "golden.npz"
    with np.load(path) as golden:
        parts = dict(golden)
    np.savez(path, **parts | {name: change(parts[name])})
    with pytest.raises(CheckpointError, match="golden.npz h(old|a)s"):
        self_test(Package.open(forge()))


@pytest.mark.parametrize(
    ("tensors", "facts"),
    [
        ({}, {"labels": ["one"]}),
        ({}, {"labels": []}),
        ({}, {"labels": "abcd"}),
        ({}, {"labels": [1, 2, 3, 4]}),
        ({}, {"source": None}),
        ({}, {"scale": float("nan")}),
        ({"text": None}, {}),
        ({"weights": np.ones(4, np.float32)}, {}),
    ],
)
def test_a_head_whose_parts_do_not_fit_is_refused(
    package_of: Callable, tmp_path: Path, tensors: dict, facts: dict
) -> None:
    folder = package_of().folder
    head = read_head(folder / "heads" / "toy.safetensors")
    made = {name: value for name, value in (head.tensors | tensors).items() if value is not None}
    note = {NOTE: json.dumps(json.loads(head.note) | facts)}
    save_file(made, tmp_path / "head.safetensors", note)
    with pytest.raises(CheckpointError, match="no head that can be read"):
        Package.open(folder, head=tmp_path / "head.safetensors")
    if tensors or "scale" in facts:  # which is a number in the graph
        return
    graph = onnx.load(folder / "heads" / "toy.onnx")
    onnx.helper.set_model_props(graph, note)
    onnx.save(graph, tmp_path / "head.onnx")
    with pytest.raises(CheckpointError, match="no head that can be used"):
        Package.open(folder, head=tmp_path / "head.onnx")


@pytest.mark.parametrize("length", [b"\x08", b"\x88\x00"], ids=["plain", "longer than needed"])
def test_a_graph_that_takes_its_tensors_from_elsewhere_is_refused(
    forge: Callable, tmp_path: Path, length: bytes
) -> None:
    path = forge() / "encoder.onnx"
    onnx = pytest.importorskip("onnx")
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    path.write_bytes(model.SerializeToString().replace(b"\x08location", length + b"location"))
    with pytest.raises(CheckpointError, match="takes tensors from other files"):
        Package.open(forge())


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return the (container, key) of every value inside."""
    keys = list(value.keys() if isinstance(value, dict) else range(len(value)))
    inner = [value[key] for key in keys if isinstance(value[key], (dict, list))]
    return [(value, key) for key in keys] + [place for one in inner for place in places(one)]


def test_our_reader_judges_descriptions_as_jsonschema_does(forge: Callable) -> None:
    whole = (forge("text", TEXT) / MANIFEST).read_text(encoding="utf-8")
    judge, draw, wrong = jsonschema.Draft202012Validator(SCHEMA), random.Random(1), 0
    assert fault_of(json.loads(whole), SCHEMA, "it") == "" and judge.is_valid(json.loads(whole))
    for _ in range(600):
        changed = json.loads(whole)
        place, key = draw.choice(places(changed))
        if draw.random() < 0.3:
            del place[key]
        else:
            place[key] = draw.choice(OTHERS)
        valid = judge.is_valid(changed)
        wrong += not valid
        assert (fault_of(changed, SCHEMA, "it") == "") == valid, (key, changed)
    assert wrong > 100
