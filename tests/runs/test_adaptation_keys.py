"""What an adaptation depends on has its own key and folder; what does not changes neither."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import random_clip_file, tiny_image_folder

from loreal_plugin.attach import detach_host
from loreal_plugin.attach.clip_source import using_weights
from loreal_plugin.runs.prepare import prepare
from loreal_plugin.runs.spec import build_spec


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give a dataset of four classes and weights."""
    tiny_image_folder(tmp_path / "data" / "pics", classes=4, per_class=4)
    given = {
        "DATA": tmp_path / "data",
        "OUT": tmp_path / "out",
        "CLIP_WEIGHTS": random_clip_file(tmp_path),
        "RECIPE": "demo",
        "LOREAL_CACHE": tmp_path / "cache",
        "UNTIL": "adapted",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("HOST", raising=False)
    detach_host()
    yield
    detach_host()


def stage(name: str, method: str, *opts: str) -> tuple[str, Path, tuple[str, ...]]:
    """Return key, folder and overrides of a stage of a run."""
    spec = build_spec(method, "32", "pics", "1", shots="2", opts=opts)
    made = prepare(spec, say=lambda text: None)
    with using_weights(made.plan.spec.weights):
        found = made.plan.stages[name]
        return made.identity.stage_key(name), found.folder, found.opts


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("maple", ("loreal:INPUT.RRCROP_SCALE", "(0.2, 1.0)")),
        ("coop", ("loreal:INPUT.RRCROP_SCALE", "(0.2, 1.0)")),
        ("maple", ("host:TRAIN.CHECKPOINT_FREQ", "1", "TRAINER.LOREAL.ALPHA_EPOCH", "1")),
        ("coop", ("TRAINER.COOP.PREC", "fp16")),
    ],
)
def test_what_changes_the_views_or_the_teacher_is_another_adaptation(
    method: str, words: tuple[str, ...]
) -> None:
    key, folder, _ = stage("adapt", method)
    other_key, other_folder, _ = stage("adapt", method, *words)
    assert key != other_key and folder != other_folder
    assert stage("adapted", method)[1] != stage("adapted", method, *words)[1]


def test_the_teacher_of_coop_has_no_epochs() -> None:
    words = ("host:TRAIN.CHECKPOINT_FREQ", "1", "TRAINER.LOREAL.ALPHA_EPOCH", "1")
    assert stage("adapt", "coop")[0] == stage("adapt", "coop", *words)[0]


def test_both_students_stand_on_the_alpha_that_was_asked_for() -> None:
    words = ("host:TRAIN.CHECKPOINT_FREQ", "1", "TRAINER.LOREAL.ALPHA_EPOCH", "1")
    for name in ("loreal", "adapted"):
        opts = stage(name, "maple", *words)[2]
        assert opts[opts.index("TRAINER.LOREAL.ALPHA_EPOCH") + 1] == "1"


def test_what_stands_on_an_adaptation_leaves_it_as_it_is() -> None:
    words = ("adapted:OPTIM.MAX_EPOCH", "10", "adapted:TRAINER.LOREAL.SLOT_PARTS", "both")
    assert stage("adapt", "maple")[:2] == stage("adapt", "maple", *words)[:2]
    assert stage("adapted", "maple")[1] != stage("adapted", "maple", *words)[1]
