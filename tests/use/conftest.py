"""Packages of untrained models to name pictures with, and one folder that was trained on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers import random_clip_file
from made_packages import package_of, picture_files  # noqa: F401  (fixtures)
from messy import Trained, messy_folder

from loreal_plugin.attach import detach_host
from loreal_plugin.use.fit import FitPlan, fit_folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Give a small run of `loreal fit` on a messy folder."""
    root = tmp_path_factory.mktemp("fit")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOST", "OUT", "SHOTS", "RECIPE", "CLIP_WEIGHTS", "DATA"):
            patch.delenv(name, raising=False)
        patch.setenv("LOREAL_CACHE", str(root / "cache"))
        detach_host()
        plan = FitPlan(
            method="coop",
            phi="32",
            shots="4",
            out=str(root / "my results"),
            weights=str(random_clip_file(root)),
            recipe="demo",
            opts=("OPTIM.MAX_EPOCH", "1", "TRAINER.LOREAL.META_INIT", "default"),
        )
        source, said = messy_folder(root / "My Pictures"), []
        fitted = fit_folder(source, plan, said.append)
        yield Trained(source, plan, fitted, "\n".join(said))
        detach_host()
