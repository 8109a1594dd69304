"""A folder with data, weights and one finished run, which tests copy instead of training one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import torch
from filelock import FileLock
from helpers import random_clip_file, tiny_image_folder
from python_at_once import python_at_once
from safetensors.torch import load_file

from loreal_plugin.results.record import RESULTS

ROOT = Path(__file__).resolve().parents[2]
RUN = ("maple", "32", "pics", "1")
FAST = ("OPTIM.MAX_EPOCH", "2")
OURS = "train_base/pics/shots_2/MaPLe_LOREAL/phi32"


class World:
    """One folder with data, weights and results, and a way to call the command line on it."""

    def __init__(self, root: Path, weights: Path | None = None) -> None:
        self.root, self.out = root, root / "out"
        self.weights = weights or root / "tiny_clip.pt"
        self.run_folder = self.out
        self.env = {
            "DATA": str(root / "data"),
            "OUT": str(self.out),
            "SHOTS": "2",
            "RECIPE": "demo",
            "CLIP_WEIGHTS": str(self.weights),
            "LOREAL_CACHE": str(root / "cache"),
        }

    def copy(self, root: Path) -> World:
        """Return a world of its own with the same files in a new folder."""
        shutil.copytree(self.root, root)
        made = World(root, self.weights)  # the name of a run's folder knows where they lie
        (made.run_folder,) = made.folders(f"{OURS}/*")
        return made

    def script(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a script from another folder, as a user would."""
        env = os.environ | self.env | {"LOREAL_PYTHON": python_at_once(), "OMP_NUM_THREADS": "1"}
        command = ["bash", str(ROOT / "scripts" / "loreal" / name), *words]
        return subprocess.run(
            command, env=env, cwd=self.root, capture_output=True, text=True, timeout=300
        )

    def folders(self, pattern: str) -> list[Path]:
        """Return the seed folders below the output folder that hold a record."""
        return sorted(
            path.parent for path in (self.out / "base2new").glob(f"{pattern}/seed1/{RESULTS}")
        )

    def stamps(self) -> dict[str, int]:
        """Return when each checkpoint was written."""
        return {name: path.stat().st_mtime_ns for name, path in checkpoints(self.out).items()}


def trained_world(root: Path) -> World:
    """Return the world in which the training script has run once; all processes share it."""
    made = World(root)
    with FileLock(root.with_suffix(".lock")):
        if not (root / "stdout.txt").exists():
            tiny_image_folder(root / "data" / "pics", classes=6, per_class=8)
            random_clip_file(root)  # tiny_clip.pt
            done = made.script("base2new_train.sh", *RUN, "--", *FAST)
            assert done.returncode == 0, done.stderr
            (root / "stdout.txt").write_text(done.stdout)
    return made


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return what a checkpoint of the host or of LOREAL holds."""
    return (
        load_file(path)
        if path.suffix == ".safetensors"
        else torch.load(path, weights_only=True)["state_dict"]
    )


def checkpoints(out: Path) -> dict[str, Path]:
    """Return the checkpoint files of a run by their path below `out`, resumable extras left out.

    Tables of inference modes are none: they are made after the training and tested elsewhere.
    """
    found = {
        path.relative_to(out): path
        for path in out.rglob("*")
        if path.name.startswith("model.pth.tar") or path.suffix == ".safetensors"
    }
    return {str(name): path for name, path in found.items() if "inference" not in name.parts}


def assert_same_checkpoints(first: Path, again: Path, learners: int) -> None:
    """Assert that two folders hold the same checkpoints, bit for bit, of `learners` stages."""
    one, two = checkpoints(first), checkpoints(again)
    # tables of inference modes lie in a folder of stage 3
    folders = {Path(name).parent for name in one if Path(name).parent.name != "inference"}
    assert one.keys() == two.keys() and len(folders) == learners
    for name, path in one.items():
        a, b = tensors(path), tensors(two[name])
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a), name
