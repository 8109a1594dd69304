"""Neither a configuration nor what a host loads its CLIP from runs code."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import pytest
import torch
from yacs.config import CfgNode

from loreal_plugin.attach.arguments import family_parser
from loreal_plugin.attach.clip_source import WEIGHTS, ClipSource, plain_file
from loreal_plugin.errors import ConfigError
from loreal_plugin.files import caches

LOADER = """
import torch


def load_clip_to_cpu(cfg):
    path = clip._download(clip._MODELS[cfg.MODEL.BACKBONE.NAME])
    try:
        return torch.jit.load(path, map_location="cpu").eval()
    except RuntimeError as error:
        said = str(error)
    return Model(said, torch.load(path, map_location="cpu"))
"""


@pytest.fixture
def toy(monkeypatch, clip_file):
    """Give a trainer module with a loader, its CLIP and a configuration; weights are served."""
    monkeypatch.setenv("CLIP_WEIGHTS", str(clip_file))
    module = ModuleType("trainers.toy")
    module.clip = SimpleNamespace(_MODELS={}, _download=None)
    module.Model = lambda said, state: SimpleNamespace(visual=None, said=said, state=state)
    exec(LOADER, vars(module))
    source = ClipSource(allowed=(WEIGHTS,))
    source.wrap(module)
    size, backbone = {"SIZE": (64, 64)}, {"BACKBONE": {"NAME": "ViT-B/16"}}
    yield module, CfgNode({"INPUT": size, "MODEL": backbone})
    source.close()
    assert module.torch is torch and vars(module.clip) == {"_MODELS": {}, "_download": None}


@pytest.mark.parametrize("name", ["--config-file", "--dataset-config-file"])
def test_a_configuration_that_would_be_run_is_refused(tmp_path, name):
    path, made = tmp_path / "config.py", tmp_path / "made"
    path.write_text(f"open({str(made)!r}, 'w')")
    with pytest.raises(ConfigError, match=r"config\.py' must be a \.yaml .* runs it"):
        family_parser().parse_args([name, str(path)])
    assert not made.exists()


def test_python_in_yaml_is_refused(tmp_path, embedded):
    path, made = tmp_path / "config.yaml", tmp_path / "made"
    path.write_text(f"SEED: !!python/object/apply:os.mkdir [{made}]\n")
    with pytest.raises(ConfigError, match=r"config\.yaml.*python/object"):
        embedded("coop").setup_cfg(["--config-file", str(path)])
    assert not made.exists()


def test_a_hosts_loader_reads_tensors_and_runs_no_archive(tmp_path, monkeypatch, toy):
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path))
    module, cfg = toy
    loaded = module.load_clip_to_cpu(cfg)
    assert "TorchScript is not run" in loaded.said and "visual.proj" in loaded.state


def test_a_hosts_loader_gets_its_weights_without_a_cache(tmp_path, monkeypatch, toy, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(caches, "_reasons_told", set())
    module, cfg = toy
    assert "visual.proj" in module.load_clip_to_cpu(cfg).state
    assert "goes on without it" in capsys.readouterr().out


def test_damaged_weights_in_the_cache_are_written_again(tmp_path, monkeypatch, clip_file):
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path))
    path = plain_file(str(clip_file))
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    assert plain_file(str(clip_file)) == path and path.read_bytes() == whole
