"""Names of CLIP weights, and the import of the package that knows them."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from helpers import random_clip_file
from python_at_once import python_at_once

from loreal_plugin.errors import WeightsError
from loreal_plugin.weights import clip_sizes, describe, import_clip, load_clip_state_dict, sources
from loreal_plugin.weights.package import borrowed_clip

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Take the network away and give an empty home; return where weights would be cached."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".cache" / "clip"


@pytest.mark.parametrize(
    ("name", "file"), [("ViT-B/16", "ViT-B-16.pt"), ("ViT-L/14@336px", "ViT-L-14-336px.pt")]
)
def test_missing_weights_name_the_file_and_how_to_provide_it(
    name: str, file: str, offline: Path
) -> None:
    with pytest.raises(WeightsError) as caught:
        load_clip_state_dict(name)
    for part in (name, str(offline / file), "CLIP_WEIGHTS", "Name or service not known"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("RN50", "ViT only: choose one of ViT-B/32"),
        ("ViT-B-16", "unknown CLIP weights 'ViT-B-16'; did you mean 'ViT-B/16'"),
        ("nowhere/clip.pt", "'nowhere/clip.pt': no such file"),
        (".", "'.': a folder"),
        ("", "'': no such file"),
    ],
)
def test_a_wrong_name_is_explained(name: str, message: str, offline: Path) -> None:
    with pytest.raises(WeightsError, match=message):
        load_clip_state_dict(name)
    assert not offline.exists()


def test_a_lookup_leaves_no_clip_behind(offline: Path) -> None:
    code = (
        "import sys\nfrom loreal_plugin.weights.package import borrowed_clip\n"
        "with borrowed_clip() as clip:\n    assert 'ViT-B/16' in clip.clip._MODELS\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'clip']\n"
    )
    done = subprocess.run([python_at_once(), "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_clip_that_was_imported_stays() -> None:
    clip = import_clip()
    with borrowed_clip() as borrowed:
        assert borrowed is clip
    assert sys.modules["clip"] is clip


@pytest.mark.parametrize("present", [None, "without packaging"])
def test_clip_imports_where_pkg_resources_lacks_packaging(
    present: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("clip", "pkg_resources")]:
        monkeypatch.delitem(sys.modules, name)
    # None in sys.modules makes the import fail as if the package were not installed
    stand_in = types.ModuleType("pkg_resources") if present else None
    monkeypatch.setitem(sys.modules, "pkg_resources", stand_in)
    clip = import_clip()
    assert clip.tokenize(["a cat"]).shape == (1, 77)
    assert sys.modules["pkg_resources"] is stand_in


def test_a_clip_that_fails_on_import_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "clip"]:
        monkeypatch.delitem(sys.modules, name)
    packaged = types.ModuleType("pkg_resources")
    packaged.packaging = types.ModuleType("packaging")
    monkeypatch.setitem(sys.modules, "pkg_resources", packaged)
    (tmp_path / "clip.py").write_text("import absent_package\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    with pytest.raises(WeightsError, match="absent_package.*pip install clip-anytorch"):
        import_clip()


def test_demo_weights_load_by_name(monkeypatch: pytest.MonkeyPatch, clip_file: Path) -> None:
    import torch

    demo = importlib.import_module("loreal_plugin.demo.weights")
    asked = []
    monkeypatch.setattr(
        demo, "expand_demo_state_dict", lambda name: asked.append(name) or torch.load(clip_file)
    )
    for name in ("demo", "demo-2"):
        assert "visual.proj" in load_clip_state_dict(name)
    assert asked == ["demo", "demo-2"]


def test_a_packed_demo_file_loads_by_path(tmp_path: Path, clip_file: Path) -> None:
    import torch

    from loreal_plugin.demo.weights import pack_state_dict

    state = torch.load(clip_file)
    rows = [5, 320, 49406, 49407]
    packed = state | {"token_embedding.weight": state["token_embedding.weight"][rows]}
    path = tmp_path / "own.safetensors"
    pack_state_dict(packed, rows, path, {})
    loaded = load_clip_state_dict(path)
    torch.testing.assert_close(
        loaded["token_embedding.weight"][rows], state["token_embedding.weight"][rows].half().float()
    )


def test_missing_demo_weights_say_how_to_build_them(monkeypatch: pytest.MonkeyPatch) -> None:
    demo = importlib.import_module("loreal_plugin.demo.weights")
    monkeypatch.setattr(demo, "DEMO_WEIGHTS", {"demo": "absent.safetensors"})
    with pytest.raises(WeightsError, match="absent.safetensors.*benchmarks/demo_world"):
        load_clip_state_dict("demo")


def test_sizes_are_read_once_a_version_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    load = sources.load_clip_state_dict
    monkeypatch.setattr(
        sources, "load_clip_state_dict", lambda name: (read.append(name), load(name))[1]
    )
    file = random_clip_file(tmp_path)
    assert clip_sizes(file) == clip_sizes(str(file)) == describe(load(file)) and len(read) == 1
    random_clip_file(tmp_path, resolution=32)
    assert clip_sizes(file)["resolution"] == 32 and len(read) == 2
