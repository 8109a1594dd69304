"""Base-to-new from end to end on the embedded host: a random tiny CLIP, six classes of noise."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import random_clip_file
from safetensors.torch import load_file
from world import FAST, OURS, ROOT, RUN, World

from loreal_plugin.cli.main import main
from loreal_plugin.results.record import RESULTS, read_results, write_record
from loreal_plugin.results.run import Row, run_of
from loreal_plugin.runs import rival_model


@pytest.fixture(scope="module")
def world(miniature: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Give a world in which the training script has run once."""
    return miniature.copy(tmp_path_factory.mktemp("base2new") / "world")


@pytest.fixture
def call(world: World, command_line: Any) -> Any:
    """Give a function that runs `base2new` here and returns exit code, stdout, stderr."""
    run = command_line(world.env)
    return lambda *words: run("base2new", *words)


def test_the_script_ends_with_the_table(world: World) -> None:
    lines = (world.root / "stdout.txt").read_text().splitlines()
    heads = [line.split("  ")[0] for line in lines]
    for row in (
        "MaPLe, trained and tested at 64",
        "MaPLe, trained at 64, tested at 32",
        "MaPLe, trained and tested at 32",
        "+ LOREAL, tested at 32",
    ):
        assert row in heads
    assert any(line.startswith("LOREAL changes HM by ") for line in lines)
    assert not any("Published" in line for line in lines), "nothing published compares with this"


def test_outputs_follow_the_familys_layout(world: World) -> None:
    found = {
        str(path.relative_to(world.out / "base2new").parent.parent) for path in world.folders("**")
    }
    shots = "pics/shots_2"
    assert found == {
        f"train_base/{shots}/MaPLe",
        f"train_base/{shots}/MaPLe/phi32",
        f"train_base/{shots}/MaPLe_LOREAL/phi32",
        f"test_base/{shots}/MaPLe/at_phi32",
        f"test_new/{shots}/MaPLe/at_phi32",
        f"test_new/{shots}/MaPLe",
        f"test_new/{shots}/MaPLe/phi32",
        f"test_new/{shots}/MaPLe_LOREAL/phi32",
    }
    assert all((folder / "log.txt").is_file() for folder in world.folders("**"))


def test_record_has_counts_stages_and_full_precision(world: World) -> None:
    record = read_results(world.run_folder)
    assert [row["name"] for row in record["rows"]] == ["native", "native_at_phi", "phi", "loreal"]
    assert [row["tokens"] for row in record["rows"]] == [17, 5, 5, 5], "4 x 4 or 2 x 2, and a class"
    for row in record["rows"]:
        for score in (row["base"], row["new"]):
            assert (
                score["accuracy"] == 100 * score["correct"] / score["total"] and score["total"] == 6
            )
    assert list(record["stages"]) == ["alpha", "beta", "loreal"]
    for name, stage in record["stages"].items():
        stored = read_results(world.out / stage["folder"])
        assert stored["key"] == stage["key"] and stored["stage"] == name
        assert stage["seconds"] > 0 and stage["peak_memory_mb"] > 0 and stage["parameters"] > 0
    assert record["parents"] == {name: record["stages"][name]["key"] for name in ("alpha", "beta")}


def test_the_record_tells_what_each_picture_was_called(world: World, command_line: Any) -> None:
    record = read_results(world.run_folder)
    for half, facts in record["test_sets"].items():
        labels = [int(label) for label in facts["labels"].split()]
        assert len(facts["classnames"]) == 3 and sorted(labels) == [0, 0, 1, 1, 2, 2]
        for row in run_of(record).rows:
            answers = row.scores[half].answers
            assert answers.labels == labels and answers.correct == record_row(record, row)[half]
    code, out, _ = command_line(world.env)("table", str(world.run_folder), "--per-class")
    assert code == 0 and out.count("Recall by class in %") == 2
    assert "LOREAL: + LOREAL, tested at 32" in out


def record_row(record: dict[str, Any], row: Row) -> dict[str, int]:
    """Return how many pictures a row gets right, as its record says, by half."""
    (found,) = [one for one in record["rows"] if one["name"] == row.name]
    return {half: found[half]["correct"] for half in ("base", "new")}


def test_schema_page_names_every_field(world: World) -> None:
    page = (ROOT / "docs" / "RESULTS_SCHEMA.md").read_text(encoding="utf-8")
    records = [read_results(folder) for folder in world.folders("**")]
    (run,) = [record for record in records if record.get("rows")]
    parts = [
        *records,
        *run["rows"],
        *run["stages"].values(),
        run["rows"][0]["base"],
        run["test_sets"]["base"],
        run["host"],
        run["weights"],
    ]
    assert {name for part in parts for name in part if f"`{name}`" not in page} == set()


def test_second_run_trains_nothing_and_prints_the_same_table(world: World, call: Any) -> None:
    before = world.stamps()
    code, out, _ = call(*RUN, "--", *FAST)
    assert code == 0 and out.count("complete (key ") == 3
    assert world.stamps() == before

    def table(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith(("MaPLe,", "+ LOREAL"))]

    assert table(out) == table((world.root / "stdout.txt").read_text())


def test_an_ablation_costs_stage_3_only_and_keeps_the_first_run(
    world: World, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[Any, ...]] = []
    fake = SimpleNamespace(
        begin=lambda name, config: heard.append(("begin", name)),
        log=lambda *number: heard.append(number),
        end=lambda ok: heard.append(("end", ok)),
    )
    monkeypatch.setitem(sys.modules, "fake_tracker", SimpleNamespace(make=lambda: fake))
    monkeypatch.setenv("LOREAL_TRACKER", "fake_tracker:make")
    before = world.stamps()
    first = world.folders(f"{OURS}/*")
    code, out, _ = call(*RUN, "--", *FAST, "TRAINER.LOREAL.BRIDGE", "self")
    assert code == 0 and out.count("complete (key ") == 2
    after = world.stamps()
    assert {name: after[name] for name in before} == before
    new = set(world.folders(f"{OURS}/*")) - set(first)
    (folder,) = new
    record = read_results(folder)
    assert record["config"]["TRAINER.LOREAL.BRIDGE"] == "self"
    name = str(folder.relative_to(world.out))
    marks = [(what, value) for what, value, *_ in heard if what in ("begin", "end")]
    assert marks == [("begin", name), ("end", True), ("begin", f"{name} results"), ("end", True)]
    scalars = {
        what for what, _, step in (one for one in heard if len(one) == 3) if step is not None
    }
    assert {"train/lr", "train/loss"} <= scalars
    assert ("loreal/HM", record["rows"][3]["hm"], None) in heard


def test_testing_again_gives_the_recorded_numbers_from_the_checkpoints(
    world: World, call: Any
) -> None:
    before = read_results(world.run_folder)
    stamps = world.stamps()
    code, out, err = call(*RUN, "--test-only", "--", *FAST)
    assert (code, err) == (0, "") and world.stamps() == stamps
    after = read_results(world.run_folder)
    assert after["rows"] == before["rows"]
    assert len(world.folders("test_base/**")) == 4, (
        "base classes are tested from the checkpoint, too"
    )


def test_testing_what_was_never_trained_is_an_error(world: World, call: Any) -> None:
    code, out, err = call("maple", "48", "pics", "1", "--test-only", "--", *FAST)
    assert code == 2 and "not tested, because never trained: stage 2 (MaPLe at 48)" in err
    assert "MaPLe, trained at 64, tested at 48" in out, "what exists is tested"
    code, _, err = call("coop", "32", "pics", "1", "--test-only", "--", *FAST)
    assert code == 2 and "nothing to test: stage 1 (CoOp at 64)" in err


def test_a_killed_stage_never_counts_as_done(world: World, call: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(world.out, out)
    beta = next((out / "base2new/train_base/pics/shots_2/MaPLe/phi32").glob("*/seed1"))
    (beta / RESULTS).unlink()
    (next((beta / "MultiModalPromptLearner").glob("model*"))).unlink()
    (beta / "MultiModalPromptLearner" / "checkpoint").unlink()
    code, text, _ = call(*RUN, "--out", str(out), "--", *FAST)
    assert code == 0 and text.count("complete (key ") == 2
    assert "model.pth.tar-2 is gone; the stage is trained again from its start" in text
    assert (beta / RESULTS).is_file() and not read_results(beta)["resumed"]


def test_a_finished_run_of_another_key_is_moved_not_overwritten(
    world: World, call: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(world.out, out)
    folder = out / world.run_folder.relative_to(world.out)
    record = json.loads((folder / RESULTS).read_text())
    write_record(folder, record | {"key": "feedface" * 8})
    code, text, _ = call(*RUN, "--out", str(out), "--", *FAST)
    assert code == 0 and text.count("complete (key ") == 2
    kept = folder.parent.with_name(f"{folder.parent.name}.replaced") / "feedface" / "seed1"
    assert json.loads((kept / RESULTS).read_text())["key"].startswith("feedface")
    assert read_results(folder)["key"] == record["key"]


def test_seeds_reproduce_bit_for_bit(world: World, call: Any, tmp_path: Path) -> None:
    code, _, _ = call(*RUN, "--out", str(tmp_path / "out"), "--", *FAST)
    assert code == 0
    mine = sorted(path for path in (tmp_path / "out").rglob("loreal/*.safetensors"))
    assert mine
    for path in mine:
        again, first = load_file(path), load_file(world.out / path.relative_to(tmp_path / "out"))
        assert again.keys() == first.keys() and all(
            torch.equal(again[name], first[name]) for name in first
        )


def test_rivals_of_the_run_are_measured_once_and_printed(
    world: World, call: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = random_clip_file(world.root, "large_patches.pt", patch=32)
    words, with_tower = ("rivals", *RUN, "--", *FAST), ("rivals", *RUN, "--tower", str(tower))
    with_tower = (*with_tower, "--", *FAST)
    predicted: list[torch.Size] = []

    def timed(calls: dict[str, Any], _: Any) -> dict[str, float]:
        predicted.extend(predict().shape for predict in calls.values())
        return dict.fromkeys(calls, 1.5)

    monkeypatch.setattr(rival_model, "picture_milliseconds", timed)
    assert main([*words, "TRAINER.LOREAL.BRIDGE", "cross"]) == 0
    first = capsys.readouterr().out
    for name in (
        "zero-shot",
        "zero-shot, mean shift",
        "zero-shot, ridge",
        "zero-shot, up-sampled to 48",
        "zero-shot, up-sampled to 64",
        "MaPLe trained at 64",
        "MaPLe trained at 64, mean shift",
    ):
        assert any(line.startswith(name) for line in first.splitlines()), name
    assert main([*with_tower]) == 0
    more = capsys.readouterr().out
    assert "[rivals 1/3]" in first and "[rivals 3/3]" in first
    assert more.count("[rivals") == more.count("zero-shot CLIP with large_patches") == 1
    for again in (words, with_tower):
        assert main([*again]) == 0
        said = capsys.readouterr().out
        assert "[rivals" not in said and said.endswith(more[more.index("Rivals of") :])
    record = read_results(next((world.out / "base2new" / "rivals").rglob(RESULTS)).parent)
    assert record["overrides"] == [["all", *FAST]], "no setting of stage 3: it has no part in them"
    enlarged = [row for row in record["rows"] if row["correction"].startswith("up-sampled to ")]
    assert [row["tokens"] for row in enlarged] == [10, 17] * 2, "of CLIP, and of the host"
    assert all(row["picture_ms"] == 1.5 for row in record["rows"])
    assert predicted == [(1, 3)] * len(record["rows"]), "one picture, three classes"
    (other,) = (row for row in record["rows"] if "large_patches" in row["name"])
    assert other["name"] == "zero-shot large_patches, up-sampled to 64" and other["tokens"] == 5
    plain = next(row for row in record["rows"] if row["name"] == "MaPLe trained at 64")
    tested = read_results(world.run_folder)["rows"][1]
    for half in ("base", "new"):
        assert (
            plain[half]["accuracy"] == tested[half]["accuracy"]
            and plain[half]["hits"] == tested[half]["hits"]
        )


def parse_with_the_familys_regex(folder: Path, end_signal: str) -> list[float]:
    """Return what the family's parse_test_res.py finds: the accuracy after the end signal, one a
    seed folder.

    Source: CoOp's parse_test_res.py; every visible entry must be a folder with a log.txt.
    """
    found = []
    for name in sorted(entry for entry in os.listdir(folder) if not entry.startswith(".")):
        lines = (folder / name / "log.txt").read_text().splitlines()
        start = [line.strip() for line in lines].index(end_signal)
        values = [line.split()[2] for line in lines[start:] if line.startswith("* accuracy: ")]
        found.append(float(values[-1].rstrip("%")))
    return found


def test_logs_are_what_the_familys_parser_reads(world: World) -> None:
    record = read_results(world.run_folder)
    label = world.run_folder.parent.name
    loreal = record["rows"][3]
    base = parse_with_the_familys_regex(world.out / "base2new" / OURS / label, "Finish training")
    new_home = world.out / "base2new" / "test_new/pics/shots_2/MaPLe_LOREAL/phi32" / label
    new = parse_with_the_familys_regex(new_home, "=> result")
    assert base == [pytest.approx(loreal["base"]["accuracy"], abs=0.01)]
    assert new == [pytest.approx(loreal["new"]["accuracy"], abs=0.01)]


def test_a_full_disk_is_one_line_and_nothing_counts_as_done(world: World, tmp_path: Path) -> None:
    pytest.importorskip(
        "resource", reason="a limit on file sizes stands in for the full disk; POSIX only"
    )
    limited = (
        f"ulimit -f 8; exec {sys.executable} -m loreal_plugin base2new {' '.join(RUN)} --out"
        f" {tmp_path / 'out'}"
    )
    env = os.environ | world.env | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = ["bash", "-c", f"trap '' XFSZ; {limited} -- {' '.join(FAST)}"]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert (
        done.stderr.strip().splitlines()[-1].startswith("error: ")
        and "Traceback" not in done.stderr
    )
    assert not list((tmp_path / "out").rglob(RESULTS))


@pytest.mark.hosts
def test_the_familys_own_parser_reads_the_logs(world: World) -> None:
    script = Path(os.environ["LOREAL_TEST_HOSTS"]) / "CoOp" / "parse_test_res.py"
    label = world.run_folder.parent.name
    folder = world.out / "base2new" / "test_new/pics/shots_2/MaPLe_LOREAL/phi32" / label
    env = os.environ | {"PYTHONPATH": str(ROOT / "hosts" / "embedded") + os.pathsep + str(ROOT)}
    command = [sys.executable, str(script), str(folder), "--test-log"]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "* accuracy: " in done.stdout, done.stderr
