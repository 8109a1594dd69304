"""Inside a patched host, `python train.py` runs all that the family's command line can do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers import random_clip_file, tiny_image_folder
from python_at_once import python_at_once
from tiny_hosts import RECIPES

from loreal_plugin.contract import get_contract
from loreal_plugin.patch import patch_host, unpatch_host
from loreal_plugin.paths import embedded_host

ROOT = Path(__file__).resolve().parents[2]
CHECKOUTS = {
    "coop": "CoOp",
    "maple": "multimodal-prompt-learning",
    "mma": "VLM-MultiModalAdapter",
    "mmrl": "MMRL",
}


IN_TURN = """
import contextlib, io, json, runpy, sys
codes, printed, said = [], [], []
for line in json.loads(sys.argv[1]):
    sys.argv, code = line, 0
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path("train.py", run_name="__main__")
        except SystemExit as end:  # a text is printed, and the code is 1
            code = 1 if isinstance(end.code, str) else int(end.code or 0)
            print(end.code if isinstance(end.code, str) else "", file=sys.stderr)
    codes, printed, said = [*codes, code], [*printed, out.getvalue()], [*said, err.getvalue()]
print(json.dumps([codes, printed, said]))
"""


class Patched:
    """A patched copy of a host with pictures, weights and the command lines of one method."""

    def __init__(self, folder: Path, source: Path, method: str, dassl: Path | None = None) -> None:
        self.source, self.host, self.out = source, folder / "host", folder / "out"
        self.contract = get_contract(method)
        tiny_image_folder(folder / "data" / "pics", classes=4, per_class=6)
        clip = random_clip_file(folder, resolution=64)
        shutil.copytree(source, self.host, ignore=shutil.ignore_patterns(".git", "__pycache__"))
        self.before = self.files()
        patch_host(self.host, method=method)
        path = os.pathsep.join(str(p) for p in (ROOT, dassl) if p)
        self.env = {
            **os.environ,
            "PYTHONPATH": path,
            "OMP_NUM_THREADS": "1",
            "CLIP_WEIGHTS": str(clip),
        }
        self.env |= {"LOREAL_CACHE": str(folder / "cache")}
        for name in ("HOST", "DASSL", "LOREAL_COMPAT"):
            self.env.pop(name, None)

    def files(self) -> dict[str, bytes]:
        """Return the host's files with their contents."""
        found = (path for path in self.host.rglob("*") if path.is_file())
        return {str(path.relative_to(self.host)): path.read_bytes() for path in found}

    def run(
        self, out: str, *words: str, loreal: bool, size: int = 64, subset: str = "base"
    ) -> subprocess.CompletedProcess:
        """Run train.py in a process; words as for `line`."""
        line = self.line(out, *words, loreal=loreal, size=size, subset=subset)
        return self._process("train.py", *line[1:])

    def run_in_turn(self, *lines: list[str]) -> list[subprocess.CompletedProcess]:
        """Run train.py once for each command line.

        The embedded host does so in one process that imports everything once; a checkout is made
        for one run a process.
        """
        if self.source != embedded_host():
            return [self._process("train.py", *line[1:]) for line in lines]
        done = self._process("-c", IN_TURN, json.dumps(lines))
        assert done.returncode == 0, done.stderr[-3000:]
        told = json.loads(done.stdout.splitlines()[-1])
        return [subprocess.CompletedProcess(*one) for one in zip(lines, *told, strict=True)]

    def _process(self, *words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [python_at_once(), *words], cwd=self.host, env=self.env, capture_output=True, text=True
        )

    def line(
        self, out: str, *words: str, loreal: bool, size: int = 64, subset: str = "base"
    ) -> list[str]:
        """Return the command line from train.py on.

        `words` with -- or = in front are arguments, the others KEY VALUE pairs.
        """
        arguments = [word for word in words if word.startswith(("--", "="))]
        options = [word for word in words if word not in arguments]
        contract = self.contract
        trainer = contract.loreal_trainer if loreal else contract.trainer
        recipe = (
            f"configs/trainers/{contract.loreal_trainer}/{'demo' if loreal else 'host_demo'}.yaml"
        )
        command = [
            "train.py",
            "--root",
            str(self.host.parent / "data"),
            "--seed",
            "1",
        ]
        command += ["--trainer", trainer, "--dataset-config-file", "configs/datasets/folder.yaml"]
        command += ["--config-file", recipe, "--output-dir", str(self.out / out)]
        command += [word.removeprefix("=") for word in arguments]
        command += [*RECIPES[contract.method], "DATASET.FOLDER", "pics", "DATASET.NUM_SHOTS", "2"]
        command += [
            "INPUT.SIZE",
            f"({size}, {size})",
            "DATASET.SUBSAMPLE_CLASSES",
            subset,
            "OPTIM.MAX_EPOCH",
            "1",
        ]
        command += [part for key, value in contract.cli_defaults.items() for part in (key, value)]
        if loreal:
            command += ["TRAINER.LOREAL.PHI", "32", "TRAINER.LOREAL.STUDENTS", "same"]
            command += [
                "TRAINER.LOREAL.ALPHA_DIR",
                str(self.out / "alpha"),
                "TRAINER.LOREAL.CACHE_VIEWS",
                "1",
            ]
        return [*command, *options]


def passes(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def assert_family_command_lines_run(patched: Patched) -> None:
    passes(patched.run("alpha", loreal=False))
    model = patched.out / "loreal"
    tested = ("--eval-only", "--model-dir", f"={model}", "--load-epoch", "=1")
    again = ("--resume", f"={model}", "OPTIM.MAX_EPOCH", "2")
    trained, text, resumed, refused = patched.run_in_turn(
        patched.line("loreal", loreal=True),
        patched.line("test", *tested, loreal=True, subset="new"),
        patched.line("more", *again, loreal=True),
        patched.line("bad", "TRAINER.LOREAL.PHI", "33", loreal=True),
    )
    assert "Parameters that train: " in passes(trained) and "* accuracy: " in trained.stdout
    assert "* accuracy: " in passes(text) and "epoch [" not in text.stdout
    assert "epoch [2/2]" in passes(resumed) and "epoch [1/2]" not in resumed.stdout
    assert refused.returncode == 1 and "error: TRAINER.LOREAL.PHI 33 does not fit" in refused.stderr
    assert "Traceback" not in refused.stderr
    # runs leave nothing in the host, and unpatching restores it
    unpatch_host(patched.host)
    assert patched.files() == patched.before


def test_copy_of_the_embedded_host(tmp_path: Path) -> None:
    assert_family_command_lines_run(Patched(tmp_path, embedded_host(), "maple"))


@pytest.mark.hosts
@pytest.mark.slow
@pytest.mark.parametrize("method", CHECKOUTS)
def test_real_checkouts(tmp_path: Path, method: str) -> None:
    hosts = Path(os.environ["LOREAL_TEST_HOSTS"])
    patched = Patched(tmp_path, hosts / CHECKOUTS[method], method, hosts / "Dassl.pytorch")
    own = passes(
        patched.run("own", "--no-train", "TRAINER.LOREAL.ENABLED", "False", loreal=True, size=32)
    )
    assert "* accuracy: " not in own
    assert_family_command_lines_run(patched)
