"""xd and zero_shot from end to end: real trainings, a target with another number of classes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from helpers import random_clip_file, tiny_image_folder

from loreal_plugin.contract import get_contract
from loreal_plugin.results.record import RESULTS, read_results


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a source of four classes, a target of three, and weights."""
    root = tmp_path_factory.mktemp("across")
    tiny_image_folder(root / "data" / "pics", classes=4, per_class=6)
    tiny_image_folder(root / "data" / "other", classes=3, per_class=6, seed=3)
    random_clip_file(root)
    return root


@pytest.fixture
def call(home: Path, command_line: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a function that runs the command line here and returns its print; it must succeed."""
    monkeypatch.delenv("HOST", raising=False)
    command = command_line(
        {
            "DATA": home / "data",
            "OUT": home / "out",
            "SHOTS": "2",
            "RECIPE": "demo",
            "TARGETS": "other",
            "CLIP_WEIGHTS": home / "tiny_clip.pt",
            "LOREAL_CACHE": home / "cache",
        }
    )

    def run(*words: str) -> str:
        code, out, err = command(*words)
        assert code == 0, err
        return out

    return run


def xd(call: Any, method: str, *opts: str) -> str:
    return call("xd", method, "32", "pics", "1", "--", "OPTIM.MAX_EPOCH", "1", *opts)


def record_of(home: Path, trainer: str) -> dict[str, Any]:
    (path,) = (home / "out" / "xd" / "run" / "pics" / "shots_2" / trainer).rglob(RESULTS)
    return read_results(path.parent)


def right(hits: str, total: int) -> int:
    """Return how many of the first `total` bits are set; the rest must be 0."""
    bits = f"{int(hits, 16):0{4 * len(hits)}b}"
    assert "1" not in bits[total:]
    return bits.count("1")


@pytest.mark.parametrize("method", ["coop", "maple", "mma", "mmrl"])
def test_a_target_with_other_classes_is_tested_from_the_sources_context(
    call: Any, home: Path, method: str
) -> None:
    xd(call, method)
    record = record_of(home, get_contract(method).loreal_trainer)
    again = xd(call, method)
    assert again.count("complete (key ") == 3, "the second run trains nothing"
    assert [row["name"] for row in record["rows"]] == ["native", "native_at_phi", "phi", "loreal"]
    for row in record["rows"]:
        for name, score in row["targets"].items():
            assert score["total"] == {"pics": 8, "other": 6}[name]
            assert right(score["hits"], score["total"]) == score["correct"]
        assert row["average"] == row["targets"]["other"]["accuracy"]
    assert record["method"] == method


def test_lost_records_are_made_again_from_the_checkpoints(call: Any, home: Path) -> None:
    xd(call, "coop")
    before = record_of(home, "CoOp_LOREAL")
    out = home / "out" / "xd"
    for part in ("train/pics/shots_2/CoOp_LOREAL", "test/pics/other/shots_2/CoOp_LOREAL"):
        (path,) = (out / part).rglob(RESULTS)
        path.unlink()
    printed = xd(call, "coop")
    assert printed.count("complete (key ") == 2 and "an interrupted run of the same key" in printed
    after = record_of(home, "CoOp_LOREAL")
    for one, two in zip(before["rows"], after["rows"], strict=True):
        assert {n: s["hits"] for n, s in one["targets"].items()} == {
            n: s["hits"] for n, s in two["targets"].items()
        }


def test_logs_are_what_the_familys_parser_reads(call: Any, home: Path) -> None:
    xd(call, "coop")
    record = record_of(home, "CoOp_LOREAL")
    (log,) = (home / "out/xd/test/pics/other/shots_2/CoOp_LOREAL").rglob("log.txt")
    lines = log.read_text().splitlines()
    (value,) = [
        line.split()[2].rstrip("%")
        for line in lines[lines.index("=> result") :]
        if "* accuracy: " in line
    ]
    assert float(value) == pytest.approx(
        record["rows"][3]["targets"]["other"]["accuracy"], abs=0.06
    )
    assert sorted(name for name in os.listdir(log.parent.parent) if not name.startswith(".")) == [
        "seed1"
    ]


def test_zero_shot_is_measured_once_whatever_the_method(call: Any, home: Path) -> None:
    first = call("zero_shot", "maple", "32", "pics", "2")
    assert "[zero-shot] CLIP at 64" in first and "zero-shot CLIP at 32" in first
    again = call("zero_shot", "32", "pics")
    assert "[zero-shot]" not in again and first.splitlines()[-3:] == again.splitlines()[-3:]
    (path,) = (home / "out" / "zero_shot").rglob(RESULTS)
    record = read_results(path.parent)
    assert (record["method"], record["seed"], record["shots"], record["stages"]) == (
        "clip",
        0,
        0,
        {},
    )
    assert path.parent.parent.name == "phi32" and record["templates"] == ["a photo of a {}."]
    for row in record["rows"]:
        scores = row["targets"]
        assert [scores[name]["total"] for name in ("all", "base", "new")] == [8, 4, 4]
        assert all(
            right(score["hits"], score["total"]) == score["correct"] for score in scores.values()
        )
        assert row["average"] == scores["all"]["accuracy"] and row["base"] == scores["base"]


@pytest.mark.parametrize("protocol", ["xd", "few_shot"])
def test_rivals_are_measured_on_every_test_set_of_a_protocol(
    call: Any, home: Path, protocol: str
) -> None:
    more = ("--targets", "other") if protocol == "xd" else ()
    call(protocol, "maple", "32", "pics", "1", *more, "--", "OPTIM.MAX_EPOCH", "1")
    words = (
        "rivals",
        "maple",
        "32",
        "pics",
        "1",
        "--protocol",
        protocol,
        *more,
        "--",
        "OPTIM.MAX_EPOCH",
        "1",
    )
    printed = call(*words)
    assert "[rivals 3/3]" in printed and "[rivals" not in call(*words), "measured once"
    folders = home / "out" / protocol
    (path,) = (folders / "rivals").rglob(RESULTS)
    rivals = read_results(path.parent)
    run = read_results(next((folders / "run").rglob(f"MaPLe_LOREAL/**/{RESULTS}")).parent)
    names = ["pics", "other"] if protocol == "xd" else ["pics"]
    assert (rivals["protocol"], list(rivals["targets"])) == (protocol, names)
    summary = ["Average"] if protocol == "xd" else []
    heads = [*names, *summary, *"tokens ms / picture ms in batches".split()]
    assert any(line.split() == heads for line in printed.splitlines())
    (shared,) = (folders / "rivals").rglob("zero_shot.json")
    clip = [row for row in rivals["rows"] if row["model"] == "zero-shot"]
    assert json.loads(shared.read_text())["rows"] == clip and len(clip) == 6, (
        "zero-shot CLIP's rows serve every method"
    )
    labels = {row["name"]: row for row in rivals["rows"]}
    # alpha on pictures of two larger sizes, too; MaPLe's tokens are not merged
    assert len(labels) == len(clip) + 5 + 3
    for plain, tested in (("MaPLe trained at 64", "native_at_phi"), ("MaPLe trained at 32", "phi")):
        row = next(row for row in run["rows"] if row["name"] == tested)
        assert labels[plain]["average"] == row["average"]
        for name, score in row["targets"].items():
            assert labels[plain]["targets"][name]["hits"] == score["hits"]
