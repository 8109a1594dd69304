"""Our host trainers against the public ones: states load both ways, outputs are the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import random_clip_file
from torch import Tensor

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
SIDE = Path(__file__).with_name("trainer_side.py")
CHECKOUTS = {
    "coop": "CoOp",
    "maple": "multimodal-prompt-learning",
    "mmadapter": "VLM-MultiModalAdapter",
    "mmrl": "MMRL",
}


def run_side(
    module: str, real: bool, clip: Path, size: int, state: Path, load: bool
) -> dict[str, Tensor]:
    """Return what one side gives; `state` is read with `load`, else written."""
    hosts = Path(os.environ["LOREAL_TEST_HOSTS"])
    ours = [str(ROOT / "hosts" / "embedded"), str(ROOT)]
    theirs = [str(hosts / CHECKOUTS[module]), str(hosts / "Dassl.pytorch")]
    out, job_file = state.with_suffix(".out.pt"), state.with_suffix(".json")
    job = {
        "path": theirs if real else ours,
        "real": real,
        "module": module,
        "clip": str(clip),
        "size": size,
    }
    job_file.write_text(json.dumps(job | {"state": str(state), "load": load, "out": str(out)}))
    done = subprocess.run(
        [sys.executable, str(SIDE), str(job_file)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out)


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("real_first", [True, False], ids=["theirs to ours", "ours to theirs"])
@pytest.mark.parametrize("module", CHECKOUTS)
def test_states_load_and_outputs_are_the_same(
    module: str, real_first: bool, size: int, tmp_path: Path
) -> None:
    # MaPLe's checkout takes these two widths only
    clip = random_clip_file(tmp_path, width=768, text_width=512, embed_dim=512, resolution=size)
    state = tmp_path / "state.pt"
    first = run_side(module, real_first, clip, size, state, load=False)
    second = run_side(module, not real_first, clip, size, state, load=True)
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(
            second[name], value, atol=1e-5, rtol=1e-5, msg=lambda text, at=name: f"{at}: {text}"
        )
