"""From a messy folder to a measured run, and from there to names, on the command line."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from messy import Trained

import loreal_plugin
from loreal_plugin.cli.main import main
from loreal_plugin.errors import DataError
from loreal_plugin.results.record import RESULTS, read_results
from loreal_plugin.runs.engine import Engine
from loreal_plugin.runs.folders import folder_name
from loreal_plugin.runs.spec import build_spec
from loreal_plugin.use.fit import MEASURED, FitPlan, _given, fit_folder, next_steps


def test_what_is_measured_is_what_the_run_s_own_test_found(trained: Trained) -> None:
    record = read_results(trained.fitted.folder)
    (row,) = (row for row in record["rows"] if row["name"] == "loreal")
    score = row["targets"]["My Pictures"]
    measured = trained.fitted.measured
    assert score["total"] == len(measured.labels) == 8
    assert score["correct"] == measured.correct
    facts = json.loads((trained.fitted.folder / MEASURED).read_text("utf-8"))
    assert facts == measured.facts()
    assert record["shots"] == 4 and record["protocol"] == "fit"


def test_it_says_what_was_found_and_what_comes_next(trained: Trained) -> None:
    said, folder = trained.said, trained.fitted.folder
    assert "4 classes, 34 pictures; 16 train, at most 4 a class (--shots), 8 measure" in said
    assert "left out:" in said and "notes.jpg" in said and "no picture in: empty" in said
    assert "guessing gives 25.0 %" in said and "Größe Nr. 1" in said
    commands = [
        shlex.split(line.split("    #")[0]) for line in said.split("Next:\n")[1].splitlines()
    ]
    assert [words[1] for words in commands] == ["predict", "export", "explain"]
    assert commands[0][2] == commands[1][2] == str(folder)
    assert commands[1][-1] == str(trained.fitted.data)
    assert commands[2][-1] == str(folder)


def test_whoever_tried_it_with_the_demonstration_s_weights_is_told_of_real_ones(
    tmp_path: Path,
) -> None:
    spec = build_spec("coop", "32", data=str(tmp_path), weights="demo")
    lines = next_steps(tmp_path / "run", spec, tmp_path / "my birds").splitlines()
    assert f"fit '{tmp_path}/my birds' --phi 32 --weights ViT-B/16" in lines[-1]
    plan = FitPlan(method="coop", phi="32", name="my birds", hold_out=0.3, opts=("A", "1"))
    *_, last = next_steps(tmp_path / "run", spec, tmp_path, _given(plan)).splitlines()
    assert "/16 --method coop --name 'my birds' --hold-out 30 -- A 1    #" in last
    real = next_steps(tmp_path / "run", replace(spec, weights="ViT-B/16"), tmp_path)
    assert "loreal fit" not in real and len(real.splitlines()) == len(lines) - 1


def test_the_same_command_trains_nothing_again(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(Engine, "_train_now", refuse)
    again = fit_folder(trained.source, trained.plan, lambda text: None)
    assert again == trained.fitted


def test_its_run_is_looked_into_without_the_folder_of_links(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
) -> None:
    monkeypatch.delenv("DATA", raising=False)
    picture = next(path for path in (trained.source / "UPPER").iterdir() if path.suffix == ".JPG")
    words = ["explain", str(picture), "--run", str(trained.fitted.folder), "--to", str(tmp_path)]
    assert main([*words, "--weights", str(trained.plan.weights)]) == 0
    assert (tmp_path / "overview.png").is_file()
    assert not [one for one in recwarn if "Glyph" in str(one.message)], "a class has a CJK name"


def test_its_run_names_pictures(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    folder, source = trained.fitted.folder, trained.source
    weights = trained.plan.weights
    words = ["predict", str(folder), str(source / "UPPER"), "--weights", str(weights)]
    assert main([*words, "--format", "json", "--top", "9"]) == 1
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert len(rows) == 11 and [Path(r["picture"]).name for r in rows if "error" in r] == [
        "broken.jpeg"
    ]
    deployed = loreal_plugin.load_run(folder, weights=weights)
    good = [row for row in rows if "classes" in row]
    wanted = deployed.predict([row["picture"] for row in good])
    for row, best in zip(good, wanted, strict=True):
        assert [one["class"] for one in row["classes"]] == [one.classname for one in best]
        assert sum(one["probability"] for one in row["classes"]) == pytest.approx(1, abs=1e-4)
    assert f"inference {deployed.inference}" in said.err
    for mode in ("exact", "static"):
        assert main([*words, "--inference", mode, "--batch", "2", "--threads", "1"]) == 1
        assert f"inference {mode}" in capsys.readouterr().err
    assert main([*words, "--inference", "statics"]) == 2
    assert "did you mean 'static'" in capsys.readouterr().err


def test_the_table_says_what_a_picture_costs_and_in_which_mode(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "ms / picture" in trained.said and "LOREAL predicts in mode '" in trained.said
    assert not any("picture_ms" in row for row in read_results(trained.fitted.folder)["rows"])
    monkeypatch.setenv("LOREAL_PICTURE_TIMES", "1")
    said: list[str] = []
    fit_folder(trained.source, trained.plan, said.append)
    rows = read_results(trained.fitted.folder)["rows"]
    times = {row["name"]: row["picture_ms"] for row in rows}
    assert list(times) == ["native", "native_at_phi", "phi", "loreal"] and min(times.values()) > 0
    assert f"{times['loreal']:.1f}" in "\n".join(said)
    # the same machine has said it already
    fit_folder(trained.source, trained.plan, said.append)
    again = read_results(trained.fitted.folder)["rows"]
    assert {row["name"]: row["picture_ms"] for row in again} == times


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/no/such/folder"], "is no folder"),
        (["FOLDER", "--hold-out", "100"], "--hold-out must be a percentage"),
        (["FOLDER", "--phi", "x"], "PHI must be a whole number"),
        (["FOLDER", "--method", "mapel"], "did you mean 'maple'"),
        (["FOLDER", "--weights", "/no/weights.pt"], "--weights demo only tries the commands out"),
        (["FOLDER", "more"], "unknown argument 'more'"),
        (["FOLDER", "--name", ".."], "the name '..' cannot be that of a folder"),
    ],
)
def test_wrong_words_are_one_line(
    trained: Trained,
    words: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = [str(trained.source) if word == "FOLDER" else word for word in words]
    assert main(["fit", *named, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not list((tmp_path / "out").rglob(RESULTS))


def test_names_of_datasets_do_not_meet_on_disk() -> None:
    names = ["猫", "犬", "Größe", "Grœße", "_", "a b", "🐱"]
    assert len({folder_name(name) for name in names}) == len(names)
    assert folder_name("my pets") == "my_pets" and folder_name("demo") == "demo"
    assert all(folder_name(name).isascii() for name in names)


def test_a_benchmark_s_name_means_no_benchmark_here(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'.*dtd' has one class"):
        (tmp_path / "dtd" / "only").mkdir(parents=True)
        (tmp_path / "dtd" / "only" / "a.png").touch()
        fit_folder(tmp_path / "dtd", trained.plan, lambda text: None)
