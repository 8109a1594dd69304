"""The embedding cache's key: each change rebuilds exactly the entries that it can change."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import random_clip_file
from PIL import Image

from loreal_plugin.students import embedding_cache as cache_module
from loreal_plugin.students.embedding_cache import EmbeddingCache

LOREAL = "TRAINER.LOREAL."
BOTH, ALPHA, BETA = ["alpha", "beta"], ["alpha"], ["beta"]


class Rebuilt:
    """Trains' first half through the trainer's own hooks; says whose embeddings were computed."""

    def __init__(self, family: Any, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.family, self.folder, self.built = family, folder, []
        get_or_build = EmbeddingCache.get_or_build

        def spy(cache: EmbeddingCache, ingredients: dict[str, Any], build: Callable) -> Any:
            def counted() -> Any:
                self.built.append(ingredients["student"])
                return build()

            return get_or_build(cache, ingredients, counted)

        patch.setattr(EmbeddingCache, "get_or_build", spy)

    def __call__(
        self, method: str, *options: Any, change: Callable[[Any], None] | None = None
    ) -> list[str]:
        """Return the students that a run with these options embeds, after `change` of it."""
        words = (LOREAL + "CACHE_DIR", self.folder / "cache", LOREAL + "CACHE_VIEWS", 1, *options)
        trainer = self.family.build(method, self.folder / "out", *words)
        if change is not None:
            change(trainer)
        self.built.clear()
        trainer.before_train()
        trainer.close_writer()
        return list(self.built)


@pytest.fixture(scope="module")
def rebuilt(family, tmp_path_factory) -> Any:
    """Give `Rebuilt` with both entries of CoOp, MMA and MMRL in its cache."""
    with pytest.MonkeyPatch.context() as patch:
        run = Rebuilt(family, tmp_path_factory.mktemp("keys"), patch)
        for method in ("coop", "mma", "mmrl"):
            assert run(method) == BOTH
        yield run


def test_an_equal_run_embeds_nothing(rebuilt):
    assert rebuilt("coop") == []
    options = {
        "BRIDGE": "self",
        "TEXT_PATH": "reference",
        "N_CONTENT": 1,
        "HIDDEN_DIM": 8,
        "N_ATTRIBUTES": 3,
    }
    words = [word for name, value in options.items() for word in (LOREAL + name, value)]
    assert rebuilt("coop", *words, "OPTIM.LR", 0.5, "DATALOADER.TRAIN_X.BATCH_SIZE", 2) == []


@pytest.mark.parametrize(
    ("options", "students"),
    [
        ((LOREAL + "PHI", 48), BETA),
        ((LOREAL + "STUDENTS", "same", LOREAL + "PHI", 64), BETA),
        ((LOREAL + "VIEWS", "independent"), BOTH),
        ((LOREAL + "CACHE_VIEWS", 2), BOTH),
        (("INPUT.RRCROP_SCALE", "(0.6, 1.0)"), BOTH),
        (("INPUT.TRANSFORMS", "['random_resized_crop', 'normalize']"), BOTH),
        (("INPUT.INTERPOLATION", "bilinear"), BOTH),
        (("INPUT.PIXEL_STD", "[0.3, 0.3, 0.3]"), BOTH),
        (("TRAINER.COOP.PREC", "amp"), BOTH),
    ],
)
def test_an_option_rebuilds_what_it_changes(rebuilt, options, students):
    assert rebuilt("coop", *options) == students
    assert rebuilt("coop", *options) == []


@pytest.mark.parametrize(
    ("method", "key", "value"),
    [
        ("mma", "TRAINER.MMADAPTER.ADAPTER_SCALE", 0.3),
        ("mmrl", "TRAINER.MMRL.REP_LAYERS", "[1, 2]"),
    ],
)
def test_a_host_setting_that_changes_no_learned_tensor_rebuilds_both(rebuilt, method, key, value):
    assert rebuilt(method) == []
    assert rebuilt(method, key, value) == BOTH


@pytest.mark.parametrize("name", BOTH)
def test_a_learned_tensor_rebuilds_its_student(rebuilt, name):
    def nudge(trainer: Any) -> None:
        next(iter(getattr(trainer.model, name).learned.values())).view(-1)[0].add_(1e-3)

    assert rebuilt("coop", change=nudge) == [name]


def test_other_clip_weights_rebuild_both(rebuilt, tmp_path):
    other = random_clip_file(tmp_path, resolution=64, seed=1)
    assert rebuilt("coop", "MODEL.BACKBONE.NAME", other) == BOTH


def test_the_view_seed_rebuilds_both(rebuilt):
    def reseed(trainer: Any) -> None:
        trainer.stage3.data.seed += 1

    assert rebuilt("coop", change=reseed) == BOTH


def test_the_bytes_of_one_picture_rebuild_both(rebuilt):
    def repaint(trainer: Any) -> None:
        path = Path(trainer.stage3.data.items[0].impath)
        kept.append((path, path.read_bytes()))
        Image.open(path).rotate(90).save(path)

    kept: list[tuple[Path, bytes]] = []
    try:
        assert rebuilt("coop", change=repaint) == BOTH
    finally:
        for path, content in kept:
            path.write_bytes(content)
    assert rebuilt("coop") == []


@pytest.mark.parametrize("fact", ["host", "shims", "clip"])
def test_host_revision_shims_and_clip_package_rebuild_both(rebuilt, fact):
    def update(trainer: Any) -> None:
        assert trainer.stage3.host_facts[fact] is not None
        trainer.stage3.host_facts = {**trainer.stage3.host_facts, fact: "other"}

    assert rebuilt("coop", change=update) == BOTH


@pytest.mark.parametrize("library", ["PIL", "torchvision"])
def test_library_versions_rebuild_both(rebuilt, monkeypatch, library):
    monkeypatch.setattr(getattr(cache_module, library), "__version__", "0.0")
    assert rebuilt("coop") == BOTH


def test_the_clip_package_is_known_by_its_sources(family, tmp_path, monkeypatch):
    host, found = family.attach("coop"), []
    for number in range(2):
        (tmp_path / "__init__.py").write_text(f"edited = {number}\n")
        monkeypatch.setitem(
            sys.modules, "clip", SimpleNamespace(__file__=str(tmp_path / "__init__.py"))
        )
        found.append(host.clip_version)
    monkeypatch.undo()
    assert len({*found, host.clip_version}) == 3


def test_an_entry_says_what_it_is_of(rebuilt):
    notes = [json.loads(path.read_text()) for path in (rebuilt.folder / "cache").glob("*.json")]
    settings = [note["ingredients"]["host_settings"] for note in notes]
    assert any("ADAPTER_SCALE" in found for found in settings) and any(
        "REP_LAYERS" in found for found in settings
    )
    wanted = {
        "pictures",
        "view_seed",
        "view_stream",
        "n_views",
        "views",
        "student",
        "method",
        "learned",
        "weights",
        "size",
        "recipe",
        "dtype",
        "device",
        "host",
        "shims",
        "clip",
        "host_settings",
        "versions",
    }
    assert all(note["ingredients"].keys() == wanted for note in notes)
