"""The rows of CoCoOp and IVLP on the real checkout: logits, text paths, whole runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import random_clip_file, tiny_image_folder, whole_runs

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
CHECKOUTS = {
    ("cocoop", "CoOp"),
    ("cocoop", "multimodal-prompt-learning"),
    ("ivlp", "multimodal-prompt-learning"),
}
SIDE = """
import sys
from pathlib import Path
import torch
from test_other_rows import text_for
from test_text_of_hosts import assert_paths_agree
from tiny_hosts import tiny_student
from loreal_plugin.attach import attach_host

host, clip, method = sys.argv[1:]
for size in (64, 96):
    torch.manual_seed(0)
    student = tiny_student(attach_host(host, method), Path(clip), size=size)
    images = torch.randn(3, 3, size, size)
    features = student.encode_image(images)
    with torch.no_grad():
        want = student.model(images)
    logits = student.logits(features, text_for(student, features))
    torch.testing.assert_close(logits, want, rtol=1e-5, atol=1e-4)
    assert want.std() > 0
    if method == "ivlp":
        for order in student.contract.slot_orders:
            assert_paths_agree(student, order)
print("agree", sorted(student.learned)[0], len(student.learned))
"""


def environment(cache: Path) -> dict[str, str]:
    folders = (ROOT, ROOT / "tests", ROOT / "tests" / "contract")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)), "OMP_NUM_THREADS": "1"}
    env |= {
        "DASSL": str(Path(os.environ["LOREAL_TEST_HOSTS"]) / "Dassl.pytorch"),
        "LOREAL_CACHE": str(cache),
    }
    return {
        name: value
        for name, value in env.items()
        if name not in ("HOST", "CLIP_WEIGHTS", "LOREAL_COMPAT")
    }


def state_of(checkout: Path) -> dict[str, bytes]:
    found = (path for path in checkout.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {str(path.relative_to(checkout)): path.read_bytes() for path in found}


@pytest.mark.parametrize("method, checkout", sorted(CHECKOUTS))
def test_logits_and_text_paths_are_the_hosts(tmp_path, method, checkout):
    host = Path(os.environ["LOREAL_TEST_HOSTS"]) / checkout
    command = [sys.executable, "-c", SIDE, str(host), str(random_clip_file(tmp_path)), method]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    first, number = {"cocoop": ("prompt_learner.ctx", 5), "ivlp": ("image_encoder.VPT", 6)}[method]
    assert done.stdout.splitlines()[-1] == f"agree {first} {number}"


@pytest.mark.parametrize("method, checkout", sorted(CHECKOUTS))
def test_three_stages_and_the_table(tmp_path, method, checkout):
    host = Path(os.environ["LOREAL_TEST_HOSTS"]) / checkout
    before = state_of(host)
    tiny_image_folder(tmp_path / "data" / "pics", classes=4, per_class=8)
    command = [
        sys.executable,
        "-m",
        "loreal_plugin",
        "base2new",
        method,
        "32",
        "pics",
        "1",
        "--host",
        str(host),
    ]
    command += [
        "--data",
        str(tmp_path / "data"),
        "--out",
        str(tmp_path / "out"),
        "--shots",
        "2",
        "--recipe",
        "demo",
    ]
    few = ["TRAINER.LOREAL.ADAPT_VIEWS", "2", "TRAINER.LOREAL.ADAPT_EPOCHS", "2"]
    command += ["--until", "adapted", "--weights", str(random_clip_file(tmp_path))]
    done = subprocess.run(
        [*command, "--", "OPTIM.MAX_EPOCH", "1", *few],
        env=environment(tmp_path / "cache"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (folder,) = whole_runs(tmp_path / "out", "*_LOREAL/phi32/*/seed1")
    record = json.loads((folder / "results.json").read_text())
    rows = {row["name"]: row for row in record["rows"]}
    assert (
        list(rows) == ["native", "native_at_phi", "phi", "loreal", "adapted"]
        and rows["loreal"]["parameters"] > 0
    )
    assert state_of(host) == before
