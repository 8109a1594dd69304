"""A folder with data, weights and runs that have an adapted image side, made in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import random_clip_file, tiny_image_folder, whole_runs

from loreal_plugin.attach import detach_host
from loreal_plugin.cli.main import main

FEW = ("TRAINER.LOREAL.ADAPT_VIEWS", "2", "TRAINER.LOREAL.ADAPT_EPOCHS", "2")
FAST = ("OPTIM.MAX_EPOCH", "1", *FEW)


class AdaptedWorld:
    """Data, weights and results of some runs that share an output folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.out = root, root / "out"
        self.pictures = tiny_image_folder(root / "data" / "pics", classes=6, per_class=8)
        self.weights = random_clip_file(root)

    def run(self, method: str, *opts: str, out: Path | None = None, until: str = "adapted") -> int:
        """Run base-to-new and return its exit code."""
        words = ["base2new", method, "32", "pics", "1", "--until", until]
        return main([*words, "--out", str(out or self.out), "--", *FAST, *opts])

    def folders(self, pattern: str, out: Path | None = None) -> list[Path]:
        """Return the seed folders of a stage, by the folder of its trainer and variant."""
        home = (out or self.out) / "base2new/train_base/pics/shots_2"
        return sorted(home.glob(f"{pattern}/*/seed1"))

    def runs(self, trainer: str, out: Path | None = None) -> list[Path]:
        """Return the folders with the record of a whole run; stage 3 may lie in another."""
        return whole_runs(out or self.out, f"{trainer}_LOREAL/phi32/*/seed1")


@contextmanager
def adapted_world(root: Path, *methods: str) -> Iterator[AdaptedWorld]:
    """Give a world with one finished run of each method, and the environment of its runs."""
    made = AdaptedWorld(root)
    with pytest.MonkeyPatch.context() as patch:
        env = {"DATA": made.root / "data", "SHOTS": "2", "RECIPE": "demo"}
        env |= {"CLIP_WEIGHTS": made.weights, "LOREAL_CACHE": made.root / "cache"}
        for name, value in env.items():
            patch.setenv(name, str(value))
        detach_host()
        assert all(made.run(method) == 0 for method in methods)
        yield made
        detach_host()
