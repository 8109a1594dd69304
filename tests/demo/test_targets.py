"""Target worlds: known names, pictures of their place alone, folders completed and repaired."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loreal_plugin.cli.main import main
from loreal_plugin.demo import render, styles, target_pictures, targets, world
from loreal_plugin.demo.targets import TargetWorld, target_worlds

WORLDS = list(target_worlds().values())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> TargetWorld:
    """Give a target world of twelve classes with two pictures each."""
    one = TargetWorld("demo-small", "for tests", 199, 2, defining=("border", "ground"))
    monkeypatch.setattr(targets, "target_worlds", lambda: {one.name: one})
    return one


def test_four_worlds_keep_the_classes_and_four_have_others() -> None:
    kept = [one for one in WORLDS if one.classnames == world.NAMES]
    assert len(WORLDS) == 8 and len(kept) == 4
    assert len({one.stream for one in WORLDS}) == 8
    assert not {one.stream for one in WORLDS} & {pool.stream for pool in world.POOLS.values()}


@pytest.mark.parametrize("one", WORLDS, ids=lambda one: one.name)
def test_class_names_are_distinct(one: TargetWorld) -> None:
    assert len(set(one.classnames)) == len(one.classnames)


@pytest.mark.parametrize("one", WORLDS, ids=lambda one: one.name)
def test_a_picture_depends_on_its_place_alone(one: TargetWorld) -> None:
    first = one.draw(3, 1)
    one.draw(0, 0)
    assert np.array_equal(one.draw(3, 1), first)
    assert first.shape == (224, 224, 3) and first.dtype == np.uint8
    assert not np.array_equal(one.draw(3, 2), first)


def test_renderings_of_the_same_values_differ_and_the_natural_one_is_the_worlds_own() -> None:
    values = np.array([0, 1, 2, 0, 1, 1, 3, 2], np.int8)
    drawn = {
        rendering: rendering(values, np.random.default_rng(4), (1.0, 1.0)).astype(int)
        for rendering in (styles.natural, styles.faded, styles.sketch, styles.cluttered)
    }
    own = render.draw(values, np.random.default_rng(4), (1.0, 1.0))[0]
    assert np.array_equal(drawn.pop(styles.natural), own)
    assert all(np.abs(picture - own).mean() > 4 for picture in drawn.values())


def test_a_class_shows_its_two_values_and_any_others() -> None:
    one = target_worlds()["demo-marks"]
    label = one.classnames.index("hoop dotted")
    seen = np.stack([one.attributes(label, np.random.default_rng(seed)) for seed in range(40)])
    mark, pattern = world.ATTRIBUTES.index("mark"), world.ATTRIBUTES.index("pattern")
    assert set(seen[:, mark]) == {world.VALUES["mark"].index("hoop")}
    assert set(seen[:, pattern]) == {world.VALUES["pattern"].index("dotted")}
    assert set(seen[:, world.ATTRIBUTES.index("color")]) == set(range(8))


def test_pictures_that_do_not_exist_are_refused() -> None:
    with pytest.raises(IndexError, match="picture 30 of class 0 of 'demo-fresh'"):
        target_worlds()["demo-fresh"].draw(0, 30)


def test_pictures_are_drawn_once_and_broken_ones_again(tmp_path: Path, small: TargetWorld) -> None:
    folder = target_pictures.ensure_target_pictures(tmp_path, small)
    items = target_pictures.list_target_items(tmp_path, small)
    assert folder == tmp_path / "demo-small" and len(items) == 24
    assert all(
        Path(path).is_file() and name == small.classnames[label] for path, label, name in items
    )
    broken, before = (
        Path(items[5][0]),
        {path: Path(path).stat().st_mtime_ns for path, _, _ in items},
    )
    whole = broken.read_bytes()
    broken.write_bytes(whole[:50])
    target_pictures.ensure_target_pictures(tmp_path, small)
    assert broken.read_bytes() == whole
    assert [path for path in before if Path(path).stat().st_mtime_ns != before[path]] == [
        str(broken)
    ]


def test_pictures_of_another_version_are_replaced(
    tmp_path: Path, small: TargetWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    target_pictures.ensure_target_pictures(tmp_path, small)
    monkeypatch.setattr(target_pictures, "VERSION", [1, 0])
    folder = target_pictures.target_folder(tmp_path, small, 0)
    assert target_pictures.faulty_files(folder, 2, target_pictures.VERSION) == [0, 1]


def test_sheet_of_the_world(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    assert main(["demo", "draw", "--sheet-only", "--sheet", str(sheet)]) == 0
    assert sheet.stat().st_size > 10_000


def test_sheet_of_a_target_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    sheet = tmp_path / "sheet.png"
    assert (
        main(["demo", "draw", "--world", "demo-frames", "--sheet", str(sheet), "--sheet-only"]) == 0
    )
    assert Image.open(sheet).size == (
        2 * 4 * 112,
        10 * (112 + 14),
    ), "twelve classes, ten below each other"
    assert (
        main(["demo", "draw", "--world", "demo-frame", "--sheet-only", "--sheet", str(sheet)]) == 2
    )
    assert "did you mean 'demo-frames'" in capsys.readouterr().err
