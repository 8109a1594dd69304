"""Pictures inside tar files: found, read where they lie, as good as files, bad ones named."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from dataclasses import replace

import pytest
from helpers import tiny_image_folder
from safetensors.torch import load_file

from loreal_plugin.adapt.clip_at_phi import adapt_clip
from loreal_plugin.adapt.pictures import unlabelled_pictures
from loreal_plugin.adapt.settings import AdaptSettings
from loreal_plugin.adapt.tar_pictures import identity_of, open_source, sources_below, stamps_of
from loreal_plugin.adapt.tower_plan import TowerPlan
from loreal_plugin.errors import DataError
from loreal_plugin.pictures import read_picture
from loreal_plugin.weights import load_clip_state_dict

SETTINGS = AdaptSettings(kind="patch", views=1, epochs=1, batch=8)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Give a folder of files, and one with the same pictures in two shards of WebDataset."""
    folder = tmp_path_factory.mktemp("shards")
    files = unlabelled_pictures(tiny_image_folder(folder / "files", per_class=4))
    (folder / "shards" / "deeper").mkdir(parents=True)
    half = len(files) // 2
    for name, part in (("a.tar", files[:half]), ("deeper/b.tar", files[half:])):
        with tarfile.open(folder / "shards" / name, "w") as shard:
            for number, path in enumerate(part):
                shard.add(path, f"{number:06d}{path.suffix}")
                label = tarfile.TarInfo(f"{number:06d}.cls")
                label.size = 1
                shard.addfile(label, io.BytesIO(b"0"))
    return folder, files


def test_members_are_the_files_in_the_order_of_their_shards(places):
    folder, files = places
    inside = sources_below(folder / "shards", "--pictures")
    assert len(inside) == len(files)
    for member, path in zip(inside, files, strict=True):
        assert open_source(member).tobytes() == read_picture(path).tobytes()
    assert identity_of(inside[-1], folder / "shards")[0].startswith("deeper/b.tar::")


def test_pictures_of_equal_names_have_stamps_of_their_own(places, tmp_path):
    for name in ("shards", "files"):
        inside = sources_below(places[0] / name, "--pictures")
        stamps = stamps_of(inside, places[0] / name)
        assert [stamp[:2] for stamp in stamps] == [identity_of(s, places[0] / name) for s in inside]
        other = shutil.copytree(places[0] / name, tmp_path / name)
        copied = stamps_of(sources_below(other, "--pictures"), other)
        assert copied == stamps, "a copy with its times is the same"
        for path in other.rglob("*.*"):
            os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
        later = stamps_of(sources_below(other, "--pictures"), other)
        assert not any(one in stamps for one in later)


def test_files_whose_names_are_no_utf8_are_named_beside_shards_too(places, tmp_path):
    shutil.copy(places[0] / "shards" / "a.tar", tmp_path)
    shutil.copy(places[1][0], tmp_path / os.fsdecode(b"caf\xe9.png"))
    with pytest.raises(DataError, match=r"not UTF-8, first '.*caf\\udce9.png'"):
        sources_below(tmp_path, "--pictures")


def test_files_and_shards_may_lie_side_by_side(places):
    folder, files = places
    every = sources_below(folder, "--pictures")
    assert len(every) == 2 * len(files)
    assert every[: len(files)] == [str(path) for path in files]


def test_shards_train_the_same_tower_as_files(places, clip_file, embedded):
    embedded("coop")
    folder, _ = places
    plan = TowerPlan(str(clip_file), 32, folder / "files", folder / "f.safetensors")
    plan = replace(plan, settings=SETTINGS)
    adapt_clip(plan, lambda _: None)
    sharded = replace(plan, pictures=folder / "shards", out=folder / "s.safetensors")
    adapt_clip(sharded, lambda _: None)
    ours, theirs = load_file(sharded.out), load_file(plan.out)
    assert all(ours[name].equal(value) for name, value in theirs.items())
    before = load_clip_state_dict(str(clip_file))["visual.conv1.weight"]
    assert not theirs["visual.conv1.weight"].equal(before.to(theirs["visual.conv1.weight"].dtype))


@pytest.mark.parametrize("content", [b"no tar at all" * 100, b"\x1f\x8b\x08\x00" + b"\x00" * 60])
def test_a_file_that_is_no_plain_tar_is_named(tmp_path, content):
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.tar' is no plain tar file .* not compressed"):
        sources_below(tmp_path, "--pictures")


def test_a_shard_that_is_cut_off_is_named(places, tmp_path):
    whole = (places[0] / "shards" / "a.tar").read_bytes()
    for end in range(len(whole) // 3, len(whole) // 2, 997):
        (tmp_path / "cut.tar").write_bytes(whole[:end])
        try:
            found = sources_below(tmp_path, "--pictures")
        except DataError as error:
            assert "cut.tar" in str(error)
        else:  # the cut lies between two members: those before are whole
            assert all(open_source(one).size for one in found)


def test_a_broken_picture_in_a_shard_is_named(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as shard:
        member = tarfile.TarInfo("one.jpg")
        member.size = 5
        shard.addfile(member, io.BytesIO(b"hello"))
    (found,) = sources_below(tmp_path, "--pictures")
    with pytest.raises(DataError, match=r"x\.tar::one\.jpg' cannot be read"):
        open_source(found)


def test_hidden_shards_and_members_are_left_out(places, tmp_path):
    (tmp_path / ".thumbnails").mkdir()
    shutil.copy(places[0] / "shards" / "a.tar", tmp_path / ".thumbnails")
    with tarfile.open(tmp_path / "x.tar", "w") as shard:
        for name in ("./one.png", "./._one.png", "deep/.cache/two.png", "../three.png"):
            member = tarfile.TarInfo(name)
            member.size = 5
            shard.addfile(member, io.BytesIO(b"hello"))
    found = sources_below(tmp_path, "--pictures")
    assert [one.member for one in found] == ["./one.png", "../three.png"]


def test_a_folder_with_neither_gets_the_line_about_pictures(tmp_path):
    with pytest.raises(DataError, match="there is no picture below"):
        sources_below(tmp_path, "--pictures")
