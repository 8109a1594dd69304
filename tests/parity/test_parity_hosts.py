"""The embedded host computes what the real ones do, and a checkpoint of one loads on the other.

Same CLIP file, same learned tensors, float32: image features, text features, logits, loss and
gradients of one training step agree to 1e-5 of the largest value, at 224 and at 96 pixels.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from checkouts import CHECKOUTS, DASSL, EMBEDDED, ROOT, checkout, environment, state_of
from helpers import random_clip_file, tiny_image_folder
from torch import Tensor

from loreal_plugin.contract import get_contract

pytestmark = pytest.mark.hosts
SIZES = (224, 96)
TOLERANCE = 1e-5
# how many gradients each method has by layers of the CLIP; with fewer, a part does not train
GRADIENTS = {
    2: {"coop": 1, "maple": 6, "mma": 20, "mmrl": 10},
    12: {"coop": 1, "maple": 27, "mma": 80, "mmrl": 30},
}
WIDE = {"width": 768, "text_width": 512, "embed_dim": 512}  # of ViT-B/16


@pytest.fixture(scope="module")
def inputs(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[int, str], dict[str, str]]]:
    """Give a function of layers and method: a CLIP file, pictures of four classes, a cache."""
    folder = tmp_path_factory.mktemp("inputs")
    tiny_image_folder(folder / "data" / "pets", classes=4, per_class=6)

    def of(layers: int, method: str) -> dict[str, str]:
        # MaPLe's checkout has these widths written in
        shape = WIDE if layers == 12 or method == "maple" else {}
        clip = folder / f"{layers}{'wide' if shape else 'narrow'}.pt"
        if not clip.is_file():
            random_clip_file(
                folder, clip.name, resolution=224, layers=layers, text_layers=layers, **shape
            )
        return {"clip": str(clip), "pictures": str(folder / "data"), "cache": str(folder / "cache")}

    yield of
    shutil.rmtree(folder)


def run_side(
    job: dict[str, Any], inputs: dict[str, str], folder: Path, name: str
) -> dict[str, Any]:
    """Return what one host gives."""
    job_file, out = folder / f"{name}.json", folder / f"{name}.pt"
    job = {**job, "pictures": inputs["pictures"], "out": str(out)}
    job["dataset_yaml"] = str(ROOT / "configs" / "datasets" / "folder.yaml")
    job_file.write_text(json.dumps(job))
    env = environment(CLIP_WEIGHTS=inputs["clip"], LOREAL_CACHE=inputs["cache"])
    command = [sys.executable, str(Path(__file__).with_name("side.py")), str(job_file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out)


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference as a share of the largest value."""
    assert ours.shape == theirs.shape
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max())


@pytest.mark.parametrize("layers, first", [(2, "real"), (2, "embedded"), (12, "real")])
@pytest.mark.parametrize("method", CHECKOUTS)
def test_real_and_embedded_host_agree(
    method: str, layers: int, first: str, inputs: Callable, tmp_path: Path
) -> None:
    folders = [checkout(CHECKOUTS[method]), checkout(DASSL)]
    before = [state_of(folder) for folder in folders]
    sides = {
        "real": {"host": str(folders[0]), "dassl": str(folders[1])},
        "embedded": {"host": str(EMBEDDED), "dassl": None},
    }
    name = get_contract(method).loreal_trainer
    recipe = str(ROOT / "configs" / "trainers" / name / "host_vit_b16.yaml") if layers == 12 else ""
    common = {
        "method": method,
        "sizes": SIZES,
        "checkpoint": str(tmp_path / "run"),
        "recipe": recipe,
    }
    found = {}
    for name in sorted(sides, key=lambda name: name != first):
        found[name] = run_side(
            {**sides[name], **common, "load": name != first}, inputs(layers, method), tmp_path, name
        )
    ours, theirs = found["embedded"], found["real"]
    assert "warmup" in theirs.pop("shims") and ours.pop("shims") == ()
    assert ours.keys() == theirs.keys()
    assert (
        sum(name.startswith("gradient") for name in ours) == len(SIZES) * GRADIENTS[layers][method]
    )
    apart = {name: relative_difference(ours[name], theirs[name]) for name in ours}
    for kind in (
        "image features",
        "text features",
        "logits",
        "loss",
        "gradient",
        "reference text path",
    ):
        largest = max(value for name, value in apart.items() if name.startswith(kind))
        print(f"{method}, {layers} layers, {first} first, {kind}: {largest:.1e}")
    assert {name: value for name, value in apart.items() if value > TOLERANCE} == {}
    paths = [theirs[f"{name} text path at {SIZES[-1]}"] for name in ("prefix", "reference")]
    print(
        f"{method}, {layers} layers, prefix against reference text path:"
        f" {relative_difference(*paths):.1e}"
    )
    assert relative_difference(*paths) <= TOLERANCE
    assert [state_of(folder) for folder in folders] == before
    shutil.rmtree(tmp_path)
