"""Pictures on disk: complete, resumable, repaired."""

from __future__ import annotations

import json
import os
import time

import numpy as np
import pytest
from PIL import Image

from loreal_plugin.demo import pictures, render, world


@pytest.fixture
def small_world(monkeypatch):
    """Three pictures of four classes in one split."""
    monkeypatch.setattr(
        world, "POOLS", {"val": world.Pool(stream=2, per_class=3, zoom=(0.85, 1.15))}
    )
    monkeypatch.setattr(world, "NUM_CLASSES", 4)


def stamp(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*.jpg")}


def test_draws_what_list_items_lists(tmp_path, small_world):
    folder = pictures.ensure_pictures(tmp_path, ("val",), workers=1)
    items = pictures.list_items(tmp_path)["val"]
    assert folder == tmp_path / "demo" / "images"
    assert len(items) == 12 and [label for _, label, _ in items] == sorted(
        label for _, label, _ in items
    )
    for path, label, name in items:
        assert name == world.NAMES[label] and f"/val/{name}/" in path
        assert Image.open(path).size == (224, 224)


def test_files_show_the_drawn_pictures(tmp_path, small_world):
    pictures.ensure_pictures(tmp_path, ("val",), workers=1)
    stored = np.asarray(Image.open(pictures.picture_path(tmp_path, "val", 2, 1))).astype(int)
    assert np.abs(stored - render.draw_picture("val", 2, 1)[0]).mean() < 4


def test_second_call_draws_nothing(tmp_path, small_world):
    pictures.ensure_pictures(tmp_path, ("val",), workers=1)
    before = stamp(tmp_path)
    time.sleep(0.01)
    pictures.ensure_pictures(tmp_path, ("val",), workers=1)
    assert stamp(tmp_path) == before


def test_interrupted_drawing_goes_on_where_it_stopped(tmp_path, small_world, monkeypatch):
    drawn = []
    encode = pictures.encode_jpeg

    def stop_in_the_second_class(split, label, index):
        if label == 1 and index == 1:
            raise KeyboardInterrupt
        drawn.append((label, index))
        return encode(split, label, index)

    monkeypatch.setattr(pictures, "encode_jpeg", stop_in_the_second_class)
    with pytest.raises(KeyboardInterrupt):
        pictures.ensure_pictures(tmp_path, ("val",), workers=1)
    finished = {
        path: mtime for path, mtime in stamp(tmp_path).items() if path.parent.name == world.NAMES[0]
    }
    monkeypatch.setattr(pictures, "encode_jpeg", encode)
    pictures.ensure_pictures(tmp_path, ("val",), workers=1)
    assert drawn == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert len(stamp(tmp_path)) == 12 and finished.items() <= stamp(tmp_path).items()


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_broken_file_is_drawn_again_and_only_that(tmp_path, small_world, damage):
    pictures.ensure_pictures(tmp_path, ("val",), workers=1)
    whole = pictures.picture_path(tmp_path, "val", 3, 2)
    content, before = whole.read_bytes(), stamp(tmp_path)
    whole.write_bytes(content[:100]) if damage == "truncated" else whole.unlink()
    assert pictures.faulty_pictures(tmp_path, "val", 3) == [2]
    pictures.ensure_pictures(tmp_path, ("val",), workers=1)
    after = stamp(tmp_path)
    assert whole.read_bytes() == content
    assert {path for path in before if before[path] != after[path]} == {whole}


def test_pictures_of_another_world_version_are_replaced(tmp_path, small_world):
    pictures.ensure_pictures(tmp_path, ("val",), workers=1)
    manifest = pictures.class_folder(tmp_path, "val", 0) / pictures.MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "world_version": -1}))
    assert pictures.faulty_pictures(tmp_path, "val", 0) == [0, 1, 2]
    pictures.ensure_pictures(tmp_path, ("val",), workers=1)
    assert pictures.faulty_pictures(tmp_path, "val", 0) == []


def test_unreadable_manifest_counts_as_none(tmp_path, small_world):
    pictures.ensure_pictures(tmp_path, ("val",), workers=1)
    (pictures.class_folder(tmp_path, "val", 1) / pictures.MANIFEST).write_text("{")
    assert pictures.faulty_pictures(tmp_path, "val", 1) == [0, 1, 2]


def test_several_processes_draw_the_same_files(tmp_path, monkeypatch):
    one, two = tmp_path / "one", tmp_path / "two"
    jobs = [("val", label) for label in range(4)]
    assert sum(pictures._draw_all(one, jobs, workers=1)) == 160
    assert sum(pictures._draw_all(two, jobs, workers=2)) == 160
    for split, label in jobs:
        for index in (0, 39):
            same = [
                pictures.picture_path(root, split, label, index).read_bytes() for root in (one, two)
            ]
            assert same[0] == same[1]


def test_a_full_disk_leaves_no_half_file(tmp_path, small_world, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        pictures.ensure_pictures(tmp_path, ("val",), workers=1)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_unknown_split_is_named(tmp_path):
    with pytest.raises(KeyError, match="'dev'"):
        pictures.ensure_pictures(tmp_path, ("dev",), workers=1)
