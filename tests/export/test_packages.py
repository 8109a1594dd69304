"""A package gives the logits of the model it was made of, on any number of pictures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from loreal_plugin.edge import Package
from loreal_plugin.edge.layout import schema_file
from loreal_plugin.edge.selftest import self_test
from loreal_plugin.errors import ConfigError
from loreal_plugin.export import encoder
from loreal_plugin.export.check import Agreement, refuse_below
from loreal_plugin.export.encoder import PixelEncoder

METHODS = ("coop", "maple", "mma", "mmrl")
CASES = [(m, mode, True) for m in METHODS for mode in ("static", "tangent")]
CASES += [("mmrl", "static", False), ("mmrl", "tangent", False)]  # as new classes are predicted


def logits_of(deployed: Any, pixels: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        features = PixelEncoder(deployed)(torch.from_numpy(pixels))
        return deployed.model.predict(features).numpy()


@pytest.mark.parametrize(("method", "mode", "fusion"), CASES)
def test_logits_are_those_of_the_model(
    package_of: Callable, pixels: np.ndarray, method: str, mode: str, fusion: bool
):
    made = package_of(method, mode, fusion=fusion)
    wanted = logits_of(made.deployed, pixels)
    onnx = Package.open(made.folder)
    numpy = Package.open(made.folder, head=made.folder / "heads" / "toy.safetensors")
    assert onnx.labels == numpy.labels == tuple(made.deployed.classnames)
    assert wanted.std() > 1  # a head that answers the same for all would be seen
    for package in (onnx, numpy):
        assert np.abs(package.logits(pixels) - wanted).max() < 1e-4
        assert np.abs(package.logits(pixels[:1]) - wanted[:1]).max() < 1e-4


def test_files_are_read_as_the_model_reads_them(package_of: Callable):
    made = package_of("maple", "static")
    package = Package.open(made.folder)
    images = torch.stack([made.deployed.pixels(path) for path in made.files])
    wanted = made.deployed.logits(images).numpy()
    found = package.predict(made.files, top=2)
    odds = torch.from_numpy(wanted).softmax(-1)
    for answers, row in zip(found, odds, strict=True):
        assert answers[0].classname == package.labels[int(row.argmax())]
        assert answers[0].probability == pytest.approx(float(row.max()), abs=1e-4)
    assert package.manifest["accuracy"]["check"]["agreement"] == 100.0


def test_the_batch_is_free_and_its_name_says_so(package_of: Callable):
    import onnx

    for method in METHODS:
        folder = package_of(method, "static").folder
        for file in ("encoder.onnx", "heads/toy.onnx"):
            graph = onnx.load(folder / file).graph
            firsts = [v.type.tensor_type.shape.dim[0] for v in (*graph.input, *graph.output)]
            assert [one.dim_param for one in firsts] == ["batch", "batch"], (method, file)


@pytest.mark.parametrize("precision", ["fp16", "int8", "int8-static", "int4"])
def test_smaller_numbers_are_near_and_a_picture_does_not_depend_on_its_batch(
    package_of: Callable, pixels: np.ndarray, precision: str
):
    made, whole = package_of("maple", "static", precision), package_of("maple", "static")
    sizes = [(m.folder / "encoder.onnx").stat().st_size for m in (made, whole)]
    assert sizes[0] < sizes[1]
    package, exact = Package.open(made.folder), Package.open(whole.folder)
    cosines = (package.features(pixels) * exact.features(pixels)).sum(-1)
    assert cosines.min() > 0.97 and not np.array_equal(cosines, np.ones_like(cosines))
    alone = np.concatenate([package.logits(one[None]) for one in pixels])
    assert np.abs(package.logits(pixels) - alone).max() < 1e-4


def test_the_description_follows_the_published_schema(package_of: Callable):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(schema_file().read_text("utf-8"))
    for case in (("maple", "static"), ("mmrl", "tangent"), ("maple", "static", "int8")):
        manifest = Package.open(package_of(*case).folder).manifest
        jsonschema.validate(manifest, schema)
    broken = dict(manifest, precision="int3")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


def test_golden_pictures_pass_and_a_changed_head_fails(package_of: Callable):
    made = package_of("coop", "static")
    package = Package.open(made.folder)
    found = self_test(package)
    assert found.passed and found.pictures == 8 and found.milliseconds > 0
    head = package.head
    package.head = lambda features: head(features) + 0.01
    assert not self_test(package).passed


def test_the_learner_of_the_prompts_is_not_shipped(package_of: Callable):
    import onnx

    folder = package_of("maple", "static").folder
    shapes = [tuple(t.dims) for t in onnx.load(folder / "encoder.onnx").graph.initializer]
    learner = package_of("maple", "static").deployed.beta.model.prompt_learner
    assert "forward" not in vars(learner)  # what was frozen is as before
    rows = [tuple(p.shape) for p in learner.compound_prompts_text]
    assert rows and (2, 64) in rows and (2, 64) in shapes  # the prompts, not the maps to them
    assert sum(s == (64, 64) for s in shapes) == 3 * 4 + 1  # attention's projections, the last one


def test_a_package_that_disagrees_is_refused():
    found = Agreement(200, 97.5, 3.0, 0.0, "test pictures")
    refuse_below(found, 97.5)
    with pytest.raises(ConfigError, match=r"97\.5 % of 200 test pictures .* nothing was written"):
        refuse_below(found, 98)
    with pytest.raises(ConfigError, match="reads pictures differently"):
        refuse_below(dataclasses.replace(found, pixels=3.0), 0)


def test_a_failure_on_an_old_torch_says_which_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert encoder.OLDEST_TORCH == (2, 6) and encoder.too_old() == ""
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    assert "PyTorch 2.5.1+cpu cannot export every host" in encoder.too_old()
