"""Packages with a LiteRT encoder: their logits are the model's; what does not fit is refused.

Tests that convert need litert-torch (the extra [litert]) and are skipped where it is missing.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_packages import RECORD
from untrained import untrained

from loreal_plugin.cli.main import main
from loreal_plugin.digests import digest_file
from loreal_plugin.edge import Package
from loreal_plugin.edge.layout import MANIFEST, SUMS, sums_of
from loreal_plugin.edge.selftest import self_test
from loreal_plugin.errors import CheckpointError, ConfigError, HostError
from loreal_plugin.export import export_run, litert
from loreal_plugin.export.encoder import PixelEncoder
from loreal_plugin.export.export_run import ExportPlan
from loreal_plugin.export.pictures import Pictures

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("litert_torch", "ai_edge_litert")
converts = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in TOOLS),
    reason="litert-torch and ai-edge-litert are not installed: pip install 'loreal-plugin[litert]'",
)
METHODS = ("coop", "maple", "mma", "mmrl")
_CONVERTED: dict[str, bytes] = {}  # in float32, by method


@pytest.fixture(scope="session")
def litert_package(
    tmp_path_factory: pytest.TempPathFactory, picture_files: list[str]
) -> Callable[..., tuple[Path, Any]]:
    """Give a function that returns a package with a LiteRT encoder, and the model it is of."""
    real = litert.export_litert

    def convert_once(deployed: Any, precision: str) -> bytes:
        name = deployed.beta.contract.method
        if name not in _CONVERTED:
            _CONVERTED[name] = real(deployed, "fp32")
        return litert.in_precision(_CONVERTED[name], precision)

    def build(method: str, mode: str = "static", precision: str = "fp32") -> tuple[Path, Any]:
        deployed = untrained(method, mode)
        folder = tmp_path_factory.mktemp("litert") / method
        plan = ExportPlan(precision, mode, check=8, least=0, format="litert")
        found = Pictures(tuple(picture_files), tuple(picture_files), "toy pictures")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(export_run, "export_litert", convert_once)
            export_run.write_package(
                folder, {"toy": deployed}, RECORD, plan, found, method, say=lambda text: None
            )
        return folder, deployed

    return build


def logits_of(deployed: Any, pixels: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        features = PixelEncoder(deployed)(torch.from_numpy(pixels))
        return deployed.model.predict(features).numpy()


@converts
@pytest.mark.parametrize("mode", ["static", "tangent"])
@pytest.mark.parametrize("method", METHODS)
def test_logits_are_those_of_the_model(
    litert_package: Callable, pixels: np.ndarray, method: str, mode: str
):
    folder, deployed = litert_package(method, mode)
    wanted, package = logits_of(deployed, pixels), Package.open(folder)
    assert wanted.std() > 1  # a head that answers the same for all would be seen
    assert package.logits(pixels).shape == wanted.shape
    assert np.abs(package.logits(pixels) - wanted).max() < 1e-4
    assert np.abs(package.logits(pixels[:1]) - wanted[:1]).max() < 1e-4
    facts = package.manifest["encoder"]
    assert facts["format"] == "litert" and facts["batch"] == 1 and package.one_by_one
    assert "opset" not in package.manifest and "litert-torch" in package.manifest["versions"]
    assert {p.suffix for p in (folder / "heads").iterdir()} == {".safetensors"}
    assert self_test(package).passed and "ai-edge-litert" in (folder / "README.md").read_text()
    assert package.manifest["accuracy"]["check"]["agreement"] == 100.0


@converts
@pytest.mark.parametrize(("precision", "share"), [("fp16", 0.6), ("int8", 0.5)])
def test_smaller_numbers_are_near(
    litert_package: Callable, pixels: np.ndarray, precision: str, share: float
):
    small, whole = litert_package("coop", precision=precision)[0], litert_package("coop")[0]
    sizes = [(folder / "encoder.tflite").stat().st_size for folder in (small, whole)]
    assert sizes[0] < share * sizes[1]
    found, exact = Package.open(small).features(pixels), Package.open(whole).features(pixels)
    cosines = (found * exact).sum(-1)
    assert cosines.min() > 0.99 and not np.array_equal(found, exact)


@converts
def test_a_device_needs_neither_torch_nor_onnxruntime(
    litert_package: Callable, picture_files: list[str]
):
    folder, _ = litert_package("coop")
    absent = ("torch", "torchvision", "onnx", "onnxruntime", "safetensors", "litert_torch", "jax")
    program = f"""
import sys
for name in {absent!r}:
    sys.modules[name] = None
from loreal_plugin.edge.command import main
sys.exit(main([{str(folder)!r}, "--selftest", {picture_files[0]!r}, "--json"]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("self-test passed: 8 pictures, pixels differ by 0")
    assert json.loads(lines[1])["picture"] == picture_files[0]


def sealed(folder: Path, manifest: dict[str, Any]) -> Path:
    """Write a description with right hashes; return the folder."""
    for name, facts in manifest["files"].items():
        facts["sha256"] = digest_file(folder / name)
    text = json.dumps(manifest)
    (folder / MANIFEST).write_text(text, "utf-8")
    (folder / SUMS).write_text(sums_of(text.encode(), manifest["files"]), "utf-8")
    return folder


@converts
def test_a_damaged_encoder_is_refused(litert_package: Callable, tmp_path: Path):
    folder = Path(shutil.copytree(litert_package("coop")[0], tmp_path / "copy"))
    path, manifest = folder / "encoder.tflite", json.loads((folder / MANIFEST).read_text("utf-8"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"encoder\.tflite is damaged"):
        Package.open(folder)
    path.write_bytes(content[: len(content) // 2])  # with a right hash
    with pytest.raises(CheckpointError, match=r"LiteRT cannot run .*encoder\.tflite"):
        Package.open(sealed(folder, manifest))


@converts
def test_an_encoder_that_takes_tensors_from_elsewhere_is_refused(
    litert_package: Callable, tmp_path: Path
):
    flatbuffers = importlib.import_module("flatbuffers")
    schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    folder = Path(shutil.copytree(litert_package("coop")[0], tmp_path / "copy"))
    path, manifest = folder / "encoder.tflite", json.loads((folder / MANIFEST).read_text("utf-8"))
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(path.read_bytes()), 0))
    group = schema.ExternalBufferGroupT()
    group.name, model.externalBufferGroups = "/etc/passwd", [group]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    with pytest.raises(CheckpointError, match="takes tensors from other files"):
        Package.open(sealed(folder, manifest))


def test_an_encoder_that_cannot_be_converted_is_named(monkeypatch):
    def convert(module: torch.nn.Module, sample_kwargs: dict[str, torch.Tensor]) -> None:
        raise AssertionError  # the converter has some without a text

    monkeypatch.setitem(sys.modules, "litert_torch", types.SimpleNamespace(convert=convert))
    with pytest.raises(HostError, match=r"cannot be converted to LiteRT \(AssertionError\)"):
        litert.export_litert(untrained("coop", "static"), "fp32")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--precision", "int4"], "--format litert has fp32, fp16, int8"),
        (["--precision", "int8-static"], "--precision int8-static is for --format onnx"),
        (["--text"], "--text is for --format onnx: the text encoder runs in onnxruntime"),
        (["--web"], "--web is for --format onnx: the page runs in onnxruntime"),
        (["--format", "liter"], "unknown format 'liter'; did you mean 'litert'"),
        ([], "litert_torch is needed here and cannot be imported"),
    ],
)
def test_what_does_not_go_together_is_refused_before_the_run_is_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch, more: list[str], said: str
):
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    words = ["export", str(tmp_path / "no run"), "--out", str(tmp_path / "p")]
    assert main([*words, "--format", "litert", *more]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert more or "pip install 'loreal-plugin[litert]'" in err
    assert not (tmp_path / "p").exists()


def test_a_device_without_the_runtime_gets_one_line(
    package_of: Callable, tmp_path: Path, monkeypatch
):
    folder = Path(shutil.copytree(package_of("maple", "static").folder, tmp_path / "copy"))
    (folder / "encoder.onnx").rename(folder / "encoder.tflite")
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    manifest["files"]["encoder.tflite"] = manifest["files"].pop("encoder.onnx")
    manifest["encoder"] |= {"format": "litert", "file": "encoder.tflite", "batch": 1}
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ConfigError, match=r"needs ai-edge-litert, .*'loreal-plugin\[litert\]'"):
        Package.open(sealed(folder, manifest))
