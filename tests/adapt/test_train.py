"""The training of an adaptation on noise pictures at toy size: shards, steps, going on."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import tiny_image_folder
from PIL import Image
from tiny_hosts import tiny_student

from loreal_plugin.adapt import shards as shards_module
from loreal_plugin.adapt.pictures import unlabelled_pictures
from loreal_plugin.adapt.settings import AdaptSettings
from loreal_plugin.adapt.shards import Shards
from loreal_plugin.adapt.tower import Tower, adapt
from loreal_plugin.adapt.train import Distillation
from loreal_plugin.errors import ConfigError, DataError
from loreal_plugin.files.store import VerifiedStore
from loreal_plugin.students.views import (
    ViewRecipe,
    draw_view,
    read_picture,
    render_view,
    view_generator,
)

RECIPE = ViewRecipe((0.5, 1.0), True, "bicubic", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
SETTINGS = AdaptSettings(rank=2, views=2, epochs=2, batch=4, lr=1e-3, seed=3)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return unlabelled_pictures(tiny_image_folder(tmp_path_factory.mktemp("pictures"), per_class=4))


@pytest.fixture
def start(embedded, clip_file, pictures):
    """Give a function that returns a fresh training; both students are those of one CLIP."""
    host = embedded("coop")

    def made(settings=SETTINGS, store=None):
        alpha, beta = tiny_student(host, clip_file), tiny_student(host, clip_file, size=32)
        pupil = Tower(beta)
        sources = Shards(
            Tower(alpha),
            [str(path) for path in pictures],
            sizes=[32],
            grids=[pupil.grid],
            recipe=RECIPE,
            seed=settings.seed,
            views=settings.views,
            store=store,
            ingredients={"what": "test"},
        )
        return Distillation(pupil, adapt(beta, settings), sources, settings)

    return made


def _train(training):
    return [progress.loss for progress in training.run()]


def test_shards_are_the_paired_views_and_what_alpha_says_of_them(start, pictures):
    training = start()
    shard = training.shards.get(1, 0)
    order = training.shards.parts[0].tolist()
    assert sorted(order) == list(range(len(pictures)))
    alpha = training.shards.alpha
    for place in (0, 5):
        image = read_picture(str(pictures[order[place]]))
        view = draw_view(*image.size, RECIPE, view_generator(3, order[place], 1))
        small, large = (render_view(image, view, size, RECIPE) for size in (32, 64))
        shown = shards_module.as_input(shard.pixels[0][place : place + 1], RECIPE)[0]
        assert torch.equal(shown, small)
        features, tokens = alpha.encode(large[None])
        assert torch.allclose(shard.features[place], features[0].detach(), atol=1e-5)
        pooled = tokens[0].detach().reshape(2, 2, 2, 2, -1).mean((1, 3)).flatten(0, 1)
        assert torch.allclose(shard.tokens[0][place].float(), pooled, atol=1e-2)


def test_small_shards_cached_targets_and_no_memory_give_the_same(start, tmp_path, monkeypatch):
    monkeypatch.setattr(shards_module, "CHUNK", 3)
    plain = start()
    losses = _train(plain)
    store = VerifiedStore(tmp_path / "targets", "targets")
    assert _train(start(store=store)) == losses
    assert len(list((tmp_path / "targets").glob("*.json"))) == SETTINGS.views
    monkeypatch.setattr(shards_module, "MEMORY_BYTES", 0)
    monkeypatch.setattr(Shards, "_targets", lambda *_: pytest.fail("targets were cached"))
    again = start(store=store)
    assert _train(again) == losses and not again.shards._in_memory


def test_the_loss_falls_and_the_pupil_comes_nearer(start):
    training = start(AdaptSettings(rank=2, views=2, epochs=20, batch=4, seed=3))
    losses = _train(training)
    assert losses[-1] < 0.7 * losses[0]


def test_schedule_warms_up_and_falls_to_zero(start):
    training = start(AdaptSettings(rank=2, views=1, epochs=1, lr=1.0))
    rates = []
    for step in range(101):
        training._set_rate(step, 100)
        rates.append(training.optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.1) and rates[9] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5) and rates[100] == pytest.approx(0, abs=1e-12)


def test_going_on_gives_the_same_tensors_bit_for_bit(start):
    whole = start()
    _train(whole)
    first = start()
    running = first.run()
    for _ in range(3):
        next(running)
    tensors, plain = first.state()
    second = start()
    second.load_state({name: value.clone() for name, value in tensors.items()}, plain)
    assert [progress.passes_done for progress in second.run()] == [4]
    assert second.passes_at_start == 3
    want, got = whole.adaptation.state(), second.adaptation.state()
    assert want.keys() == got.keys()
    assert all(torch.equal(value, got[name]) for name, value in want.items())


def test_parts_cover_all_pictures(start, monkeypatch):
    monkeypatch.setattr(shards_module, "SHARD", 5)
    training = start()
    parts = training.shards.parts
    assert [len(part) for part in parts[:-1]] == [5] * (len(parts) - 1)
    assert sorted(torch.cat(parts).tolist()) == list(range(len(training.shards.paths)))
    assert training.steps == 4 * sum(max(1, len(part) // 4) for part in parts)
    assert len(_train(training)) == 4 * len(parts)


@pytest.mark.parametrize(
    "change",
    [{"kind": "positions"}, {"rank": 3}, {"views": 1}, {"lr": 2e-3}, {"seed": 4}]
    + [{"token_weight": 0.0}, {"batch": 3}, {"epochs": 1}],
)
def test_every_setting_acts(start, change):
    plain = start()
    _train(plain)
    other = start(AdaptSettings(**{**SETTINGS.facts(), **change}))
    _train(other)
    mine, theirs = plain.adaptation.state(), other.adaptation.state()
    same = mine.keys() == theirs.keys() and all(
        value.shape == theirs[name].shape and torch.equal(value, theirs[name])
        for name, value in mine.items()
    )
    assert not same


def test_a_rate_that_is_too_high_is_said(start):
    training = start(AdaptSettings(rank=2, views=1, epochs=30, batch=4, lr=1e12))
    with pytest.raises(ConfigError, match=r"rate 1e\+12 is too high; choose a smaller one \(--lr"):
        _train(training)
    assert not math.isnan(training.settings.lr)


def test_folders_without_pictures_are_refused(tmp_path):
    with pytest.raises(DataError, match="is no folder"):
        unlabelled_pictures(tmp_path / "nothing")
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match="there is no picture below"):
        unlabelled_pictures(tmp_path)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "deep" / "er" / "ONE.JPG", "JPEG")
    assert [path.name for path in unlabelled_pictures(tmp_path)] == ["ONE.JPG"]


def test_hidden_folders_and_files_are_left_out_and_the_order_is_that_of_paths(tmp_path):
    names = (
        "b/1.png",
        "b.png",
        "a-b/1.png",
        "a/1.png",
        ".thumbnails/1.png",
        "a/.x/1.png",
        ".y.png",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in unlabelled_pictures(tmp_path)]
    assert found == ["a/1.png", "a-b/1.png", "b/1.png", "b.png"]
