"""A run is found from the folder of any of its trainings of stage 3."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from made_runs import facts

from loreal_plugin.errors import CheckpointError
from loreal_plugin.files import write_json
from loreal_plugin.results.record import RESULTS
from loreal_plugin.runs.find_run import find_run


@pytest.mark.parametrize("label", ["demo", "demo-0123abcd"])
def test_a_few_shot_training_opens_with_the_record_of_its_run(tmp_path: Path, label: str) -> None:
    below = Path("demo", "shots_1", "MaPLe_LOREAL", "phi96")
    stage = tmp_path / "few_shot" / "train" / below / label / "seed1"
    run = tmp_path / "few_shot" / "run" / below / "demo" / "seed1"
    (stage / "loreal").mkdir(parents=True)
    common = facts("maple", 96, 1, protocol="few_shot", stage="loreal", key="k")
    write_json(stage / RESULTS, common)
    stages = {"loreal": {"key": "k", "folder": str(stage.relative_to(tmp_path))}}
    write_json(run / RESULTS, common | {"kind": "run", "key": "r", "stages": stages})
    for path in (stage, stage / RESULTS, run):
        folder, name, record, out = find_run(path)
        assert (folder, name, record["key"], out) == (stage, "loreal", "r", tmp_path)
    write_json(stage / RESULTS, common | {"key": "another"})
    folder, _, record, out = find_run(stage)
    assert (folder, record["key"], out) == (stage, "another", None), "that run is of other settings"


def two_students(out: Path) -> dict[str, Path]:
    """Write a base-to-new run with both students; return their folders."""
    below = Path("base2new", "train_base", "demo", "shots_1", "MaPLe_LOREAL")
    places = {"loreal": below / "phi96/demo/seed1", "adapted": below / "adapted_phi96/demo/seed1"}
    stages = {name: {"key": name, "folder": str(place)} for name, place in places.items()}
    for name, place in places.items():
        record = facts("maple", 96, 1, stage=name, key=name)
        record |= {"stages": stages, "rows": []} if name == "loreal" else {}
        (out / place / "loreal").mkdir(parents=True)
        write_json(out / place / RESULTS, record)
    return {name: out / place for name, place in places.items()}


def test_a_copy_inside_the_output_folder_is_opened_itself(tmp_path: Path) -> None:
    places = two_students(tmp_path)
    for name, place in places.items():
        for where in (tmp_path / "shared" / name, place.parent / "seed1-copy", place / "kept"):
            copy = shutil.copytree(place, where)
            for row in ("", name):
                assert find_run(copy, row)[:2] == (copy, name)
            shutil.rmtree(copy)
        copy = shutil.copytree(place, tmp_path / "shared" / name)
        (other,) = places.keys() - {name}
        with pytest.raises(CheckpointError, match="copied alone|which is not there"):
            find_run(copy, other)
    tree = shutil.copytree(tmp_path / "base2new", tmp_path / "backup" / "base2new").parent
    copied = tree / places["loreal"].relative_to(tmp_path)
    for name, place in places.items():
        found = find_run(copied, name)
        assert found[0] == tree / place.relative_to(tmp_path) and found[3] == tree


def test_a_student_that_another_run_has_replaced_is_not_opened(tmp_path: Path) -> None:
    whole, own = two_students(tmp_path).values()
    write_json(own / RESULTS, facts("maple", 96, 1, stage="adapted", key="another"))
    moved = own.parent.with_name("demo.replaced") / "adapted" / "seed1"
    for row in ("", "adapted"):
        with pytest.raises(CheckpointError, match="holds the training of another run") as caught:
            find_run(whole, row)
        assert str(moved) in str(caught.value)
    assert find_run(whole, "loreal")[:2] == (whole, "loreal")


@pytest.mark.parametrize("above", ["out", "adapted_runs/train/adapted_out"])
def test_a_row_that_is_asked_for_is_opened_from_either_folder(tmp_path: Path, above: str) -> None:
    out = tmp_path / above
    places = two_students(out)
    whole, own = places.values()
    for path in (whole, own):
        for row, name in (("loreal", "loreal"), ("adapted", "adapted"), ("", "adapted")):
            folder, stage, record, found = find_run(path, row)
            assert (folder, stage, record["key"]) == (places[name], name, "loreal")
            assert found == out
    alone = shutil.copytree(own, tmp_path / "alone")
    assert find_run(alone)[:2] == find_run(alone, "adapted")[:2] == (alone, "adapted")
    with pytest.raises(CheckpointError, match="row 'loreal' was asked for.*copied alone"):
        find_run(alone, "loreal")
