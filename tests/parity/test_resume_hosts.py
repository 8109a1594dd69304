"""A stage that is killed on the real Dassl goes on to the same end with the same command."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from checkouts import CHECKOUTS, DASSL, checkout, environment, state_of
from helpers import random_clip_file, tiny_image_folder

from loreal_plugin.weights.host_checkpoints import read_host_checkpoint

pytestmark = pytest.mark.hosts
RECIPES = {
    "coop": ["TRAINER.COOP.PREC", "fp32"],
    "mma": ["TRAINER.MMADAPTER.ADAPTER_START", "1", "TRAINER.MMADAPTER.ADAPTER_END", "2"],
    "mmrl": ["TRAINER.MMRL.REP_LAYERS", "[1, 2]", "TRAINER.MMRL.REP_DIM", "32"],
}


def command(method: str, frequency: int, epochs: int) -> list[str]:
    opts = [
        "OPTIM.MAX_EPOCH",
        str(epochs),
        "DATALOADER.NUM_WORKERS",
        "0",
        "TRAIN.CHECKPOINT_FREQ",
        str(frequency),
    ]
    words = [
        method,
        "32",
        "pets",
        "1",
        "--until",
        "beta",
        "--",
        *opts,
        "TRAIN.PRINT_FREQ",
        "1",
        *RECIPES[method],
    ]
    return [sys.executable, "-m", "loreal_plugin", "base2new", *words]


def kill_when(pattern: str, out: Path, process: subprocess.Popen[str]) -> None:
    """Kill a run as soon as a file or folder of this name is below `out`."""
    limit = time.monotonic() + 500
    while not list(out.rglob(pattern)):
        assert process.poll() is None, f"ended before it could be killed: {process.communicate()}"
        assert time.monotonic() < limit, "never came so far"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("method, frequency, epochs", [("mmrl", 1, 12), ("coop", 0, 60)])
def test_a_killed_host_stage_ends_as_an_undisturbed_one(
    method: str, frequency: int, epochs: int, tmp_path: Path
) -> None:
    """It goes on after the last checkpoint, or begins anew; the learned tensors are equal."""
    folders = [checkout(CHECKOUTS[method]), checkout(DASSL)]
    before = [state_of(folder) for folder in folders]
    tiny_image_folder(tmp_path / "data" / "pets", classes=4, per_class=8)
    env = environment(
        HOST=str(folders[0]),
        DASSL=str(folders[1]),
        DATA=str(tmp_path / "data"),
        SHOTS="4",
        CLIP_WEIGHTS=str(random_clip_file(tmp_path, layers=2, text_layers=2)),
        LOREAL_CACHE=str(tmp_path / "cache"),
    )
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    words = command(method, frequency, epochs)
    process = subprocess.Popen(
        words,
        cwd=tmp_path,
        env=env | {"OUT": str(killed)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    kill_when(
        "model.pth.tar-3" if frequency else "tensorboard", killed, process
    )  # made as the training begins
    assert not list(killed.rglob(f"model.pth.tar-{epochs}")), "it was killed too late"
    said = {}
    for out in (killed, whole):
        done = subprocess.run(
            words, capture_output=True, text=True, cwd=tmp_path, env=env | {"OUT": str(out)}
        )
        assert done.returncode == 0, done.stderr[-3000:]
        said[out] = done.stdout
    assert (
        "an interrupted run of the same key" in said[killed]
        and "an interrupted run" not in said[whole]
    )
    logs = [path for path in killed.rglob("log.txt") if "train_base" in path.parts]
    (log,) = [
        path for path in logs if "phi32" not in path.parts
    ]  # stage 1, the second run of the two
    assert (f"epoch [1/{epochs}]" not in log.read_text()) == (frequency > 0)
    assert_same_checkpoints(killed, whole, f"model.pth.tar-{epochs}")
    assert [state_of(folder) for folder in folders] == before


def assert_same_checkpoints(killed: Path, whole: Path, name: str) -> None:
    one, two = (
        {path.relative_to(out): path for path in out.rglob(name)} for out in (killed, whole)
    )
    assert one.keys() == two.keys() and len(one) == 2  # stages 1 and 2
    for key, path in one.items():
        first, second = (
            read_host_checkpoint(path)["state_dict"],
            read_host_checkpoint(two[key])["state_dict"],
        )
        assert first.keys() == second.keys()
        assert all(torch.equal(value, second[item]) for item, value in first.items()), key
    assert not list(killed.rglob("random-state*"))
