"""ViT-B/16 at full size, random weights: one epoch of stages 1 to 3 a method, CPU, float32."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import random_clip_file, tiny_image_folder
from tiny_hosts import METHODS

from loreal_plugin.contract import CONTRACTS
from loreal_plugin.results.record import RESULTS

ROOT = Path(__file__).resolve().parents[2]
VIT_B16 = dict(
    width=768, text_width=512, layers=12, text_layers=12, embed_dim=512, patch=16, resolution=224
)
PUBLISHED = {"maple": 3_555_072, "mmrl": 4_992_256}  # tunable parameters of the hosts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def vit_b16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a file with random weights of ViT-B/16's shape (600 MB, removed afterwards)."""
    path = random_clip_file(tmp_path_factory.mktemp("vit"), "vit_b16_random.pt", **VIT_B16)
    yield path
    path.unlink()


@pytest.mark.parametrize("method", METHODS)
def test_one_epoch_of_the_three_stages_at_full_size(tmp_path, vit_b16, method):
    tiny_image_folder(tmp_path / "data" / "pics", classes=4, per_class=8, size=96)
    node = CONTRACTS[method].cfg_node
    # the recipes use fp16 and eight loader processes; a handful of pictures on a CPU needs neither
    settings = [
        "OPTIM.MAX_EPOCH",
        "1",
        f"TRAINER.{node}.PREC",
        "fp32",
        "DATALOADER.NUM_WORKERS",
        "0",
    ]
    settings += ["TRAINER.LOREAL.CACHE_VIEWS", "1"]
    command = [
        sys.executable,
        "-m",
        "loreal_plugin",
        "base2new",
        method,
        "96",
        "pics",
        "1",
        "--shots",
        "2",
    ]
    command += [
        "--data",
        str(tmp_path / "data"),
        "--out",
        str(tmp_path / "out"),
        "--weights",
        str(vit_b16),
    ]
    command += ["--recipe", "vit_b16", "--", *settings]
    env = os.environ | {"LOREAL_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr[-3000:]
    (path,) = (tmp_path / "out").rglob(f"train_base/pics/shots_2/*_LOREAL/phi96/*/seed1/{RESULTS}")
    record = json.loads(path.read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in record["rows"]}
    assert list(rows) == ["native", "native_at_phi", "phi", "loreal"]
    assert rows["native"]["parameters"] == PUBLISHED.get(method, rows["native"]["parameters"])
    assert rows["loreal"]["parameters"] > 0
    print(method, {name: round(row["seconds"]) for name, row in rows.items()})
