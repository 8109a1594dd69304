"""A family at toy size: six classes, a random CLIP, stages 1 and 2 trained once a method."""

from __future__ import annotations

import importlib
import io
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from filelock import FileLock
from helpers import random_clip_file, tiny_image_folder

from loreal_plugin.contract import CONTRACTS

ROOT = Path(__file__).resolve().parents[1]
NATIVE, PHI = 64, 32


class Family:
    """Configs and trainers of the embedded host on the toy data."""

    def __init__(self, folder: Path, attach: Callable[[str], Any], shared: Path) -> None:
        self.folder, self.attach, self.shared = folder, attach, shared
        self.data = tiny_image_folder(folder / "data" / "pictures", classes=6, per_class=12).parent
        self.clip = random_clip_file(folder, resolution=NATIVE)
        self._stages: dict[str, tuple[Path, Path]] = {}

    def cfg(
        self,
        method: str,
        out: Path,
        *opts: Any,
        host: bool = False,
        size: int = NATIVE,
        subset: str = "base",
        seed: int = 1,
    ) -> Any:
        """Return the config of a host stage, or of stage 3 with both students in place."""
        contract = CONTRACTS[method]
        recipe = ROOT / "configs" / "trainers" / contract.loreal_trainer
        words = ["--root", self.data, "--seed", seed, "--output-dir", out]
        words += ["--trainer", contract.trainer if host else contract.loreal_trainer]
        words += ["--dataset-config-file", ROOT / "configs" / "datasets" / "folder.yaml"]
        words += ["--config-file", recipe / ("host_demo.yaml" if host else "demo.yaml")]
        words += [
            "DATASET.FOLDER",
            "pictures",
            "DATASET.NUM_SHOTS",
            6,
            "DATASET.SUBSAMPLE_CLASSES",
            subset,
        ]
        words += [
            "MODEL.BACKBONE.NAME",
            self.clip,
            "INPUT.SIZE",
            f"({size}, {size})",
            "OPTIM.MAX_EPOCH",
            2,
        ]
        words += ["DATALOADER.TRAIN_X.BATCH_SIZE", 4]
        if not host:
            alpha, beta = self.stages(method)
            words += ["TRAINER.LOREAL.PHI", PHI, "TRAINER.LOREAL.ALPHA_DIR", alpha]
            words += ["TRAINER.LOREAL.BETA_DIR", beta]
            # contents depend on the image before any training:
            # a test of untrained nets can then fail
            words += ["TRAINER.LOREAL.META_INIT", "default"]
            # choosing a mode takes time that few tests are about
            words += ["TRAINER.LOREAL.INFERENCE", "exact"]
        return self.attach(method).setup_cfg([str(w) for w in (*words, *opts)])

    def build(self, method: str, out: Path, *opts: Any, **kind: Any) -> Any:
        """Return a trainer, seeded as the family's train.py does it."""
        cfg = self.cfg(method, out, *opts, **kind)
        importlib.import_module("dassl.utils").set_random_seed(cfg.SEED)
        with redirect_stdout(io.StringIO()) as said:
            trainer = self.attach(method).build_trainer(cfg)
        trainer.said = said.getvalue()
        return trainer

    def train(self, method: str, out: Path, *opts: Any, **kind: Any) -> Any:
        """Return a trainer after its training."""
        trainer = self.build(method, out, *opts, **kind)
        with redirect_stdout(io.StringIO()) as said:
            trainer.train()
        trainer.said += said.getvalue()
        return trainer

    def stages(self, method: str) -> tuple[Path, Path]:
        """Return the output folders of stages 1 and 2, trained once for all workers of a run."""
        if method not in self._stages:
            folders = self.shared / method / "alpha", self.shared / method / "beta"
            done = self.shared / method / "done"
            self.shared.mkdir(parents=True, exist_ok=True)
            with FileLock(self.shared / f"{method}.lock"):
                if not done.exists():
                    # what a worker left that failed half way is not taken for a run to go on
                    shutil.rmtree(self.shared / method, ignore_errors=True)
                    for folder, size in zip(folders, (NATIVE, PHI), strict=True):
                        self.train(method, folder, "OPTIM.MAX_EPOCH", 1, host=True, size=size)
                    done.touch()
            self._stages[method] = folders
        return self._stages[method]
