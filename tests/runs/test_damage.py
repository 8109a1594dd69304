"""Damaged files of a finished run are found, named and made anew."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers import random_clip_file, tiny_image_folder
from power_cut import Disk, vouched

from loreal_plugin.cli.main import main
from loreal_plugin.files import (
    atomic,
    manifest,
    read_checked,
    write_checked,
    write_json,
    write_text,
)
from loreal_plugin.results.record import RESULTS, STARTED, read_results, write_record
from loreal_plugin.runs.verify import verify

RUN = ("base2new", "coop", "32", "pics")
FAST = ("--", "OPTIM.MAX_EPOCH", "1", "loreal:OPTIM.MAX_EPOCH", "2")
STAGES = ("CoOp/demo-*", "CoOp/phi32/*", "CoOp_LOREAL/phi32/*")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with pictures, weights, and a finished run in `out`."""
    root = tmp_path_factory.mktemp("damage")
    tiny_image_folder(root / "data" / "pics", classes=4, per_class=6)
    random_clip_file(root)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(root).items():
            patch.setenv(name, value)
        assert main([*RUN, "--out", str(root / "out"), *FAST]) == 0
    return root


def environment(home: Path) -> dict[str, str]:
    places = {"DATA": home / "data", "CLIP_WEIGHTS": home / "tiny_clip.pt"}
    places |= {"LOREAL_CACHE": home / "cache"}
    return {name: str(place) for name, place in places.items()} | {"SHOTS": "2", "RECIPE": "demo"}


@pytest.fixture
def call(home: Path, command_line: Any) -> Any:
    return command_line(environment(home))


@pytest.fixture
def out(home: Path, tmp_path: Path) -> Path:
    """Give a copy of the output folder."""
    shutil.copytree(home / "out", tmp_path / "out")
    return tmp_path / "out"


def stage(out: Path, place: str) -> Path:
    return next(out.glob(f"base2new/train_base/pics/shots_2/{place}/seed1"))


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place // 8 % len(content)] ^= 1 << place % 8
    path.write_bytes(content)


def kept(out: Path) -> list[Path]:
    """Return the files of a run that are read back."""
    found = [p for p in out.rglob("*") if p.is_file() and not p.name.startswith(".")]
    others = ("log.txt", "checkpoint", "comparison.png")
    return sorted(p for p in found if p.name not in others and "tensorboard" not in p.parts)


def test_a_whole_run_is_verified(out: Path, call: Any):
    found = verify(out)
    assert found.damaged == {} and found.old == set()
    assert found.verified == set(kept(out))
    code, text, _ = call("verify", str(out))
    assert code == 0 and f"{len(kept(out))} files verified, 0 damaged" in text
    # of a run's folder, its other stages are verified, too
    alone = verify(stage(out, STAGES[2]))
    assert {stage(out, place) / RESULTS for place in STAGES} <= alone.verified
    # and one whose record was deleted is missed
    lost = stage(out, STAGES[0]).resolve() / RESULTS
    lost.unlink()
    assert verify(stage(out, STAGES[2])).damaged.keys() == {lost}
    code, text, _ = call("verify", str(stage(out, STAGES[2])))
    assert code == 1 and "is missing, a stage of this run" in text


def test_every_flipped_bit_is_found(out: Path):
    draw = random.Random(7)
    for path in kept(out):
        before = path.read_bytes()
        for _ in range(3):
            flip(path, draw.randrange(8 * len(before)))
            assert path in verify(path.parent if path.name == RESULTS else out).damaged, path
            path.write_bytes(before)


@pytest.mark.parametrize(
    ("place", "harm"), [(STAGES[0], "remove"), (STAGES[1], "flip"), (STAGES[2], "cut")]
)
def test_a_stage_with_a_damaged_checkpoint_is_trained_again(
    out: Path, call: Any, place: str, harm: str, home: Path
):
    record = read_results(stage(out, place))
    name = next(name for name in record["files"] if "-" in Path(name).name)
    path = stage(out, place) / name
    if harm == "flip":
        flip(path, 8 * (path.stat().st_size // 2))
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.unlink()
    code, text, _ = call("verify", str(out))
    said = "is gone" if harm == "remove" else "is not what was written"
    assert code == 1 and f"damaged: {path} {said}" in text and "made anew" in text
    code, text, err = call(*RUN, "--out", str(out), *FAST)
    assert code == 0, err
    assert f"{path} {said}; stage" in text and text.count("complete (key") == 2
    assert call("verify", str(out))[0] == 0
    for other in STAGES:
        again, first = read_results(stage(out, other)), read_results(stage(home / "out", other))
        assert again["base"] == first["base"] and again["files"].keys() == first["files"].keys()
        # the header of stage 3's checkpoints names folders of the run
        if other != STAGES[2]:
            assert again["files"] == first["files"]


def test_a_damaged_journal_of_a_complete_stage_is_written_anew(out: Path, call: Any):
    path = stage(out, STAGES[1]) / STARTED
    flip(path, 8 * (path.stat().st_size // 2))
    assert path in verify(out).damaged
    code, text, err = call(*RUN, "--out", str(out), *FAST)
    assert code == 0, err
    assert "moved to" not in text and call("verify", str(out))[0] == 0


def test_an_edited_record_is_not_believed(out: Path, call: Any):
    folder = stage(out, STAGES[2])
    text = (folder / RESULTS).read_text()
    (folder / RESULTS).write_text(text.replace('"accuracy": ', '"accuracy": 1', 1))
    assert read_results(folder) is None
    code, _, err = call("explain", "--run", str(folder))
    assert code == 2 and "is not what was written" in err and "run the same command again" in err
    code, text, err = call(*RUN, "--out", str(out), *FAST)
    assert code == 0 and read_results(folder)["files"] and call("verify", str(out))[0] == 0


@pytest.mark.parametrize("name", [RESULTS, STARTED])
def test_what_a_newer_release_wrote_is_left_as_it_is(out: Path, call: Any, name: str):
    folder = stage(out, STAGES[2])
    newer = read_checked(folder / name)[0] | {"schema_version": 9}
    write_checked(folder / name, newer)
    if name == STARTED:
        (folder / RESULTS).unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, _, err = call(*RUN, "--out", str(out), *FAST)
    assert code == 2 and f"{name} is of a newer release (schema version 9" in err
    assert all(path.read_bytes() == content for path, content in before.items())
    assert call("verify", str(out))[0] == 0  # it is whole
    code, _, err = call("table", str(folder))
    assert code == 2 and ("use the release that wrote it" in err) == (name == RESULTS)


def test_a_run_of_before_hashes_is_read_and_said_to_be_unverified(out: Path, call: Any):
    for place in STAGES:
        record = read_results(stage(out, place))
        del record["files"]
        write_json(stage(out, place) / RESULTS, record)
        (stage(out, place) / STARTED).unlink()
    code, text, err = call(*RUN, "--out", str(out), *FAST)
    assert code == 0, err
    assert text.count("not verified: made before hashes were kept") == 3
    assert text.count("complete (key") == 3
    shutil.rmtree(stage(out, STAGES[1]) / "prompt_learner")
    code, text, err = call(*RUN, "--out", str(out), *FAST)
    assert code == 0 and "the checkpoint of the last epoch is gone; stage 'beta'" in text


def test_what_is_open_or_nothing_is_said(out: Path, call: Any, tmp_path: Path):
    assert "no folder" in call("verify", str(tmp_path / "none"))[2]
    (tmp_path / "empty").mkdir()
    assert "has no results" in call("verify", str(tmp_path / "empty"))[2]


def test_a_power_cut_at_any_rename_leaves_no_record_of_files_that_are_not_there(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    disk = Disk(tmp_path)
    with monkeypatch.context() as patch:
        disk.watch(patch)
        code, _, err = call(*RUN, "--out", str(tmp_path / "out"), *FAST)
    assert code == 0, err
    assert disk.faults == [] and disk.cuts > 40 and vouched(tmp_path) >= 6
    # the judge is not blind: without syncs every record vouches for what is not there
    blind = Disk(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "sync", lambda _path: None)
        patch.setattr(atomic, "sync", lambda _path: None)
        blind.watch(patch)
        path = tmp_path / "stage" / "model-1"
        write_text(path, "x")
        known = manifest.Manifest(path.parent).hashes([path])
        write_record(path.parent, {"files": known})
        record = path.parent / RESULTS
        blind._content[record.stat().st_ino] = record.read_bytes()
        blind._cut()
    assert any("not on the disk" in fault for fault in blind.faults)
