"""`loreal doctor`: what is missing is named, and the exit code says whether a run can start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import random_clip_file, tiny_image_folder
from stand_ins import write_stand_in_host

from loreal_plugin.attach import detach_host
from loreal_plugin.attach.shims import LOADER_FACTS
from loreal_plugin.cli import doctor, doctor_data, doctor_host
from loreal_plugin.cli.doctor_model import Built
from loreal_plugin.cli.main import main


@pytest.fixture(autouse=True)
def no_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("DATA", "HOST", "CLIP_WEIGHTS", "DASSL", "LOREAL_COMPAT"):
        monkeypatch.delenv(name, raising=False)
    detach_host()
    yield
    detach_host()


RECIPE = ("--recipe", "demo")  # the tiny weights have three layers


def rows(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, str], dict[str, str], str]:
    """Return the marks and the texts by what was looked for, and the last line."""
    *lines, last = capsys.readouterr().out.strip().splitlines()
    named = {line[9:].split("  ")[0].strip(): line for line in lines}
    texts = {name: line[9 + len(name) :].strip() for name, line in named.items()}
    return {name: line[:9].strip() for name, line in named.items()}, texts, last


def test_everything_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = random_clip_file(tmp_path)
    assert main(["doctor", "--verbose", *RECIPE, "--weights", str(weights)]) == 0
    found, texts, last = rows(capsys)
    assert (
        last == "a run can start: loreal base2new maple 32 demo" and "MISSING" not in found.values()
    )
    assert found["trainer MaPLe_LOREAL"] == "ok" and found["DATA"] == "-"
    assert (
        texts[f"weights '{weights}'"].startswith(f"{weights}: ")
        and "patch 16" in texts[f"weights '{weights}'"]
    )
    assert (
        texts["methods recognised"] == "coop, maple, mma, mmrl"
        and texts["method checked"] == "maple"
    )
    assert texts["contract: learned context"] == "prompt_learner.ctx: Parameter"
    number, _, wanted = texts["contract rows"].removesuffix(" found").partition(" of ")
    assert number == wanted == str(sum(name.startswith("contract: ") for name in found))
    # the embedded host needs no repair; those of the CLIP loader look for their cause at each load
    assert {name for name in found if name.startswith("repair")} == {
        f"repair {one.name}" for one in LOADER_FACTS
    }
    assert "hosts/embedded" in texts["Dassl"]


def test_missing_weights_data_and_host_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--weights",
        str(tmp_path / "none.pt"),
        "--data",
        str(tmp_path / "nowhere"),
        "--host",
        str(tmp_path),
    ]
    assert main(["doctor", *words]) == 1
    found, _, last = rows(capsys)
    wrong = [name for name, mark in found.items() if mark == "MISSING"]
    assert wrong == [f"weights '{tmp_path / 'none.pt'}'", "host", "DATA"]
    assert last == f"a run cannot start: {', '.join(wrong)}"


def test_parts_that_a_host_lacks_are_listed_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = write_stand_in_host(tmp_path / "host")
    trainer = host / "trainers" / "independentVL.py"
    trainer.write_text(trainer.read_text().replace("self.add_prompt", "self.with_prompt"))
    (host / "trainers" / "vpt.py").write_text("@TRAINER_REGISTRY.register()\nclass VPT: ...\n")
    words = ["--verbose", *RECIPE, "--host", str(host)]
    words += ["--weights", str(random_clip_file(tmp_path))]
    assert main(["doctor", *words, "--method", "ivlp"]) == 1
    found, texts, _ = rows(capsys)
    assert [name for name, mark in found.items() if mark == "MISSING"] == [
        "contract: whether a text block holds rows",
        "contract rows",
    ]
    assert "no 'add_prompt'" in texts["contract: whether a text block holds rows"]
    assert (
        texts["trainers without a row"] == "VPT" and "cocoop, ivlp" in texts["methods recognised"]
    )
    detach_host()
    (host / "trainers" / "cocoop.py").unlink()
    assert main(["doctor", *words, "--method", "cocoop"]) == 1
    found, texts, _ = rows(capsys)
    assert (
        found["method checked"] == found["host: trainer class CoCoOp"] == "MISSING"
        and "attach" not in found
    )
    assert "no such file" in texts["host: trainer class CoCoOp"]


def test_a_model_that_cannot_be_built_is_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = random_clip_file(tmp_path, layers=1, text_layers=1)
    assert main(["doctor", *RECIPE, "--weights", str(weights), "--method", "maple"]) == 1
    found, texts, last = rows(capsys)
    assert (
        found["host model"] == "MISSING" and "PROMPT_DEPTH asks for layer 3" in texts["host model"]
    )
    assert last == "a run cannot start: host model"


def test_without_data_a_misspelt_demonstration_is_told_apart_from_a_dataset() -> None:
    (_, row) = doctor_data.dataset_findings("", "dmeo")
    assert row.mark == "MISSING" and row.found.endswith("did you mean 'demo'?")
    (_, row) = doctor_data.dataset_findings("", "birds")
    assert row.mark == "MISSING" and "did you mean" not in row.found


def test_datasets_are_counted_and_what_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    tiny_image_folder(data / "pics", classes=3, per_class=6)
    tiny_image_folder(data / "caltech-101" / "101_ObjectCategories", classes=4, per_class=10)
    (data / "eurosat").mkdir()
    (data / "empty").mkdir()
    before = sorted(data.rglob("*"))
    found = {row.what: row for row in doctor_data.dataset_findings(str(data), "")}
    assert sorted(data.rglob("*")) == before
    assert found["dataset caltech101"].found == "4 classes, 40 images (train 20, val 8, test 12)"
    assert found["dataset pics"].found.startswith("3 classes, 18 images (train 9")
    assert not found["dataset eurosat"].ok and "2750" in found["dataset eurosat"].found
    assert f"loreal data get eurosat --data {data}" in found["dataset eurosat"].found
    assert "data get" not in found["dataset empty"].found
    assert not found["dataset empty"].ok and found["dataset empty"].mark == "-"
    assert found["DATA"].ok and "2 dataset(s) can be used" in found["DATA"].found
    asked = {
        name: doctor_data.dataset_findings(str(data), name)
        for name in ("eurosat", "caltech101", "dtd", "demo")
    }
    assert f"loreal data get dtd --data {data}" in asked["dtd"][-1].found
    missing = {
        name: [row.what for row in rows if row.mark == "MISSING"] for name, rows in asked.items()
    }
    assert missing == {
        "eurosat": ["dataset eurosat"],
        "caltech101": [],
        "dtd": ["dataset dtd"],
        "demo": [],
    }
    only = tmp_path / "only"
    (only / "empty").mkdir(parents=True)
    assert [
        row.what for row in doctor_data.dataset_findings(str(only), "") if row.mark == "MISSING"
    ] == ["DATA"]


def test_a_missing_package_stops_before_what_needs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(doctor.PACKAGES, "some-package", "no_such_module_at_all")
    assert main(["doctor"]) == 1
    found, _, last = rows(capsys)
    assert found["some-package"] == "MISSING" and last == "a run cannot start: some-package"
    assert "host" not in found


def test_a_folder_of_ones_own_is_counted_and_a_real_host_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded host counts pictures, and one process attaches one host at a time."""
    host, weights = write_stand_in_host(tmp_path / "host"), random_clip_file(tmp_path)
    tiny_image_folder(tmp_path / "data" / "pics", classes=4, per_class=6)
    built: list[Built] = []
    monkeypatch.setattr(doctor_host, "model_findings", lambda _, one: built.append(one) or [])
    words = [*RECIPE, "--host", str(host), "--weights", str(weights)]
    words += ["--data", str(tmp_path / "data")]
    assert main(["doctor", "cocoop", "32", "pics", *words]) == 0
    _, texts, last = rows(capsys)
    assert texts["dataset pics"].startswith("4 classes, 24 images")
    assert last == "a run can start: loreal base2new cocoop 32 pics"
    assert built[0].classes == (("airplane", "brain"), ("brain", "camera", "dalmatian"))
