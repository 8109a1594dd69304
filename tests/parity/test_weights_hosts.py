"""CLIP weights of every kind reach the real hosts' own CLIP unchanged, through `CLIP_WEIGHTS`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkouts import CHECKOUTS, DASSL, checkout, environment
from helpers import random_clip_state_dict
from safetensors.torch import save_file
from torch import Tensor
from weights.layouts import as_custom_text_clip, as_hugging_face, write_torchscript

pytestmark = pytest.mark.hosts
CODE = """
import hashlib, json, os, sys, torch
from loreal_plugin.attach import attach_host
host, dassl, method, *files = sys.argv[1:]
attached = attach_host(host, method, dassl=dassl)
found = []
for file in files:
    os.environ["CLIP_WEIGHTS"] = file
    size = ["INPUT.SIZE", "(64, 64)", "MODEL.BACKBONE.NAME", "ViT-B/16"]
    cfg = attached.setup_cfg(["--trainer", attached.contract.trainer, *size])
    torch.manual_seed(0)  # MMRL adds a fresh random projection
    model = attached.trainers_module.load_clip_to_cpu(cfg).float()
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    more = (torch.zeros(2, 768), []) if method == "maple" else ()
    with torch.no_grad():
        features = model.visual(x, *more)
    finite = bool(features.isfinite().all())
    found.append([digest.hexdigest(), features.double().sum().item(), finite])
print("FOUND " + json.dumps(found))
"""


def write(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def write_safely(state: dict[str, Tensor], path: Path) -> Path:
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


KINDS: dict[str, Callable[[dict[str, Tensor], Path], Path]] = {
    "plain": lambda state, at: write(state, at / "plain.pt"),
    "torchscript": lambda state, at: write_torchscript(state, at / "archive.pt"),
    "hugging face": lambda state, at: write_safely(as_hugging_face(state), at / "hf.safetensors"),
    "open_clip": lambda state, at: write_safely(
        as_custom_text_clip(state), at / "open_clip.safetensors"
    ),
}


@pytest.mark.parametrize("method", CHECKOUTS)
def test_every_kind_of_file_gives_the_host_the_same_model(method: str, tmp_path: Path) -> None:
    shape = {"width": 768, "text_width": 512, "embed_dim": 512} if method == "maple" else {}
    state = random_clip_state_dict(layers=1, text_layers=1, vocab=100, **shape)
    files = [
        str(kind({name: value.clone() for name, value in state.items()}, tmp_path))
        for kind in KINDS.values()
    ]
    words = [str(checkout(CHECKOUTS[method])), str(checkout(DASSL)), method, *files]
    env = environment(LOREAL_CACHE=str(tmp_path / "cache"))
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words], capture_output=True, text=True, cwd=tmp_path, env=env
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.split("FOUND ")[1])
    assert len(found) == len(KINDS) and all(one[2] for one in found)
    assert found == [found[0]] * len(KINDS)
