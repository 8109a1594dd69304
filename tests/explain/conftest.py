"""One finished run at toy size, of the method with two image features and inserted tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import random_clip_file, tiny_image_folder

from loreal_plugin.attach import detach_host
from loreal_plugin.cli.main import main
from loreal_plugin.runs.run import run_protocol
from loreal_plugin.runs.spec import build_spec

# one epoch of a random CLIP teaches little, so contents depend on the picture from the start
OPTS = (
    "OPTIM.MAX_EPOCH",
    "1",
    "TRAINER.LOREAL.META_INIT",
    "default",
    "TRAINER.LOREAL.CACHE_VIEWS",
    "1",
)


class Toy:
    """A toy run: `run` is its folder, `data` has its pictures."""

    def __init__(self, root: Path) -> None:
        self.root, self.data, self.weights = root, root / "data", random_clip_file(root)
        self.pictures = tiny_image_folder(self.data / "pics", classes=4, per_class=8)
        spec = build_spec(
            "mmrl",
            "32",
            "pics",
            "1",
            data=str(self.data),
            out=str(root / "out"),
            shots="2",
            recipe="demo",
            weights=str(self.weights),
            opts=OPTS,
            env={},
        )
        self.run = run_protocol(spec, say=lambda text: None).folder


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toy]:
    """Give a finished toy run; the host stays attached until the module's last test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATA", "HOST", "OUT", "SHOTS", "RECIPE", "CLIP_WEIGHTS"):
            patch.delenv(name, raising=False)
        root = tmp_path_factory.mktemp("explain")
        patch.setenv("LOREAL_CACHE", str(root / "cache"))
        detach_host()
        made = Toy(root)
        patch.setenv("DATA", str(made.data))
        yield made
        detach_host()


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Give a function that runs the command line, which must refuse, and returns the one line."""

    def run(*words: object) -> str:
        code = main([str(word) for word in words])
        lines = capsys.readouterr().err.strip().splitlines()
        assert (code, len(lines)) == (2, 1), lines
        return lines[0]

    return run
