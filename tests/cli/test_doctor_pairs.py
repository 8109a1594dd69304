"""What a run refuses the doctor refuses, and what the doctor calls ready runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import random_clip_file, tiny_image_folder

from loreal_plugin.attach import detach_host
from loreal_plugin.cli.main import main


class Place(NamedTuple):
    """Folders of pictures, weights at 64 pixels with patches of 16, and a folder of one's own."""

    data: Path
    weights: Path
    own: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("pairs")
    data = root / "data"
    tiny_image_folder(data / "pics", classes=4, per_class=4)
    tiny_image_folder(data / "one", classes=1, per_class=6)
    tiny_image_folder(data / "two", classes=2, per_class=6)
    tiny_image_folder(data / "broken", classes=4, per_class=4)
    next((data / "broken").rglob("*.png")).write_text("no picture")
    (data / "empty").mkdir()
    return data, random_clip_file(root)


@pytest.fixture
def place(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    for name in ("DATA", "HOST", "OUT", "SHOTS", "RECIPE", "CLIP_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path / "cache"))
    detach_host()
    yield Place(*made, tmp_path)
    detach_host()


@pytest.fixture
def both(place: Place, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[tuple[int, str]]]:
    """Give a function that asks the doctor, then runs; it returns exit code and words of each."""

    def ask(words: str, **options: str) -> list[tuple[int, str]]:
        before, _, after = words.format(own=place.own, data=place.data).partition(" -- ")
        given = {"data": str(place.data), "out": str(place.own / "out"), "recipe": "demo"}
        given |= {"weights": str(place.weights), "shots": "2"} | options
        for name, text in given.items():
            given[name] = text.format(own=place.own)
        flags = [word for name, text in given.items() for word in (f"--{name}", text)]
        tail = ["--", *after.split()] if after else []
        found = []
        for command in ("doctor", "base2new"):
            early = ["--until", "alpha"] if command == "base2new" else []
            code = main([command, *before.split(), *flags, *early, *tail])
            out, err = capsys.readouterr()
            found.append((code, out if command == "doctor" else err))
        return found

    return ask


WRONG = {
    "phi no multiple": ("maple 33 pics", {}, "multiple of the patch size 16"),
    "phi far too large": ("maple 1000000 pics", {}, "PHI 1000000 is not below 64"),
    "phi native": ("maple 64 pics", {}, "PHI 64 is not below 64, the native size"),
    "phi above native": ("maple 96 pics", {}, "choose a PHI below 64"),
    "weights that are none": ("maple 32 pics", {"weights": "/etc/passwd"}, "/etc/passwd"),
    "recipe of deeper weights": ("maple 32 pics", {"recipe": "vit_b16"}, "PROMPT_DEPTH"),
    "rate that diverges": ("maple 32 pics -- OPTIM.LR 1e30", {}, "between 0 and 100"),
    "rate that is none": ("maple 32 pics -- OPTIM.LR -1.0", {}, "between 0 and 100"),
    "no epoch": ("maple 32 pics -- OPTIM.MAX_EPOCH 0", {}, "at least 1 epoch"),
    "host that is no folder": ("maple 32 pics", {"host": "/nope"}, "HOST '/nope' is no folder"),
    "one class": ("maple 32 one", {}, "has one class ('airplane')"),
    "one class a half": ("maple 32 two", {}, "three in all"),
    "no class": ("maple 32 empty", {}, "folder per class"),
    "text named png": ("maple 32 broken", {}, "cannot be read"),
    "path that is none": ("maple 32 nowhere/pics", {}, "is a path, and there is no such folder"),
    "misspelt demo": ("maple 32 dmeo", {}, "did you mean 'demo'"),
    "seed below zero": ("maple 32 pics -1", {}, "SEED must be a whole number of at least 0"),
    "seed above all": ("maple 32 pics 4294967296", {}, "SEED must be at most 4294967295"),
    "unknown method": ("mapel 32 pics", {}, "did you mean 'maple'"),
    "results nowhere": ("maple 32 pics", {"out": "/" + 300 * "a"}, "too long; name another"),
    "results in a file": ("maple 32 pics", {"out": "{own}/file/out"}, "is a file; name a folder"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_run_refuses_the_doctor_refuses(
    both: Callable[..., list[tuple[int, str]]], place: Place, name: str
) -> None:
    (place.own / "file").write_text("")
    words, options, text = WRONG[name]
    (doctor, report), (run, line) = both(words, **options)
    assert doctor == 1 and "a run cannot start" in report and len(report.splitlines()) <= 20
    assert run == 2 and text in line and len(line.strip().splitlines()) == 1
    assert "Traceback" not in line and not (place.own / "out").exists()
    # the doctor says it in the same words, or names the part that is missing
    assert text in report or "MISSING  host" in report or "MISSING  dataset" in report, report


def test_what_the_doctor_calls_ready_runs(
    both: Callable[..., list[tuple[int, str]]], place: Place
) -> None:
    # the whole run is tested elsewhere; its first stage is what "can start" means
    for dataset in ("pics/", "{data}/pics"):
        (doctor, report), (run, line) = both(f"maple 32 {dataset} -- OPTIM.MAX_EPOCH 1")
        assert doctor == 0 and "a run can start: loreal base2new maple 32 pics" in report
        assert "every picture was read" in report and len(report.splitlines()) <= 20
        assert run == 0, line


def test_the_demonstration_is_ready_before_it_is_drawn(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "maple", "96", "--out", str(place.own / "out")]) == 0
    assert "pictures are drawn when it starts" in capsys.readouterr().out
    assert not (place.own / "out").exists() and not (place.own / "cache" / "demo").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(both: Callable[..., list], place: Place) -> None:
    closed = place.own / "closed"
    closed.mkdir(mode=0o500)
    (doctor, _), (run, line) = both("maple 32 pics", out=str(closed / "out"))
    assert (doctor, run) == (1, 2) and "may not be written" in line


def test_a_full_disk_is_found_before_training(
    both: Callable[..., list], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(Path.cwd())._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    (doctor, _), (run, line) = both("maple 32 pics")
    assert (doctor, run) == (1, 2) and "0 MiB are free there" in line


def test_a_cache_that_cannot_hold_the_demonstration_is_refused_by_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path / "file"))
    detach_host()
    flags = ["coop", "96", "demo", "--out", str(tmp_path / "out")]
    assert main(["doctor", *flags]) == 1
    report = capsys.readouterr().out
    assert main(["base2new", *flags]) == 2
    line = capsys.readouterr().err
    for said in (report, line):
        assert "file is a file, and the pictures of 'demo' are drawn there" in said
