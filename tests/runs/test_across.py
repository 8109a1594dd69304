"""xd, dg and few_shot: what is trained, tested, shared and run again; trainings are counted."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import random_clip_file, tiny_image_folder
from made_runs import OUTCOME, SCORE

from loreal_plugin.attach import detach_host
from loreal_plugin.attach.clip_source import using_weights
from loreal_plugin.cli.main import main
from loreal_plugin.errors import ConfigError
from loreal_plugin.paths import bundle_root
from loreal_plugin.results.answers import pack_bits
from loreal_plugin.results.protocols import BASE2NEW, DG, FEW_SHOT, XD, Protocol
from loreal_plugin.results.record import RESULTS, read_results
from loreal_plugin.runs.engine import Engine
from loreal_plugin.runs.prepare import prepare
from loreal_plugin.runs.protocol import protocol_of
from loreal_plugin.runs.records import average, roles
from loreal_plugin.runs.spec import RunSpec, build_spec

TEST = {"score": SCORE, "seconds": 0.1, "peak_memory_mb": 1.0, "key": "e"}
ALL = ["alpha", "beta", "loreal"]
TARGET_WORDS = ("TRAINER.LOREAL.TEST_ATTRIBUTES", "target")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a folder with a source of four classes, two targets and weights."""
    for name in ("HOST", "SHOTS", "TARGETS"):
        monkeypatch.delenv(name, raising=False)
    for name, classes in (("pics", 4), ("drawn", 4), ("other", 3)):
        tiny_image_folder(tmp_path / "data" / name, classes=classes, per_class=4, seed=classes)
    given = {
        "DATA": tmp_path / "data",
        "OUT": tmp_path / "out",
        "CLIP_WEIGHTS": random_clip_file(tmp_path),
    }
    for name, value in (given | {"RECIPE": "demo", "LOREAL_CACHE": tmp_path / "cache"}).items():
        monkeypatch.setenv(name, str(value))
    detach_host()
    yield tmp_path
    detach_host()


class Calls(list):
    """What was trained and tested since the last look, in order."""

    def look(self) -> list[str]:
        """Return the calls and forget them."""
        found, self[:] = list(self), []
        return found


@pytest.fixture
def calls(place: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Let trainings and tests do nothing but be noted."""
    done = Calls()
    monkeypatch.setattr(
        Engine, "_train_now", lambda self, stage: done.append(stage.name) or dict(OUTCOME)
    )

    def evaluate(self: Engine, row: Any, subset: str, again: bool = False) -> dict[str, Any]:
        done.append(f"{row.name} on {subset}")
        return dict(TEST)

    monkeypatch.setattr(Engine, "evaluate", evaluate)
    return done


def run(*words: str, targets: str = "drawn other") -> None:
    more = ["--targets", targets] if words[0] in ("xd", "dg") else []
    assert main([words[0], "maple", "32", "pics", "1", "--shots", "2", *more, *words[1:]]) == 0


def spec(method: str = "maple", *opts: str) -> RunSpec:
    return build_spec(method, "32", "pics", "1", shots="2", opts=opts)


def engine(name: str = "xd", method: str = "maple", *opts: str) -> Engine:
    return prepare(
        spec(method, *opts),
        protocol=protocol_of(name, "pics", ("drawn", "other")),
        say=lambda text: None,
    )


def evaluation_key(made: Engine, row: str, subset: str) -> str:
    """Return the key of one evaluation."""
    chosen = next(one for one in made.plan.rows if one.name == row)
    with using_weights(made.plan.spec.weights):
        cfg = made.resolve(made.plan.stages[chosen.stage], chosen, subset)
        return made.identity.evaluation_key(chosen.stage, cfg, subset)


def test_every_row_is_tested_on_every_target_and_the_source_once(calls: Calls) -> None:
    run("xd")
    found = calls.look()
    assert [name for name in found if name in ALL] == ALL
    tests = [name for name in found if name not in ALL]
    rows = ("native", "native_at_phi", "phi", "loreal")
    assert set(tests) == {f"{row} on {t}" for row in rows for t in ("drawn", "other")} | {
        "native_at_phi on pics"
    }
    assert len(tests) == len(set(tests))


def test_dg_finds_the_stages_of_xd_and_few_shot_has_its_own(calls: Calls) -> None:
    run("xd")
    calls.look()
    run("dg", targets="drawn")
    assert not [name for name in calls.look() if name in ALL]
    run("few_shot")
    assert [name for name in calls.look() if name in ALL] == ALL


def test_a_second_run_trains_nothing_and_words_of_the_target_cost_no_training(
    calls: Calls, place: Path
) -> None:
    run("xd")
    run("xd")
    assert calls.look().count("alpha") == 1
    run("xd", "--", *TARGET_WORDS)
    assert not [name for name in calls.look() if name in ALL]
    runs = sorted((place / "out" / "xd" / "run").rglob(RESULTS))
    assert len(runs) == 2, "two runs, each with a record of its own"
    asked = [read_results(path.parent)["overrides"] for path in runs]
    assert sorted(asked) == [[], [["loreal", *TARGET_WORDS]]]


def test_keys_of_tests_know_the_words_of_the_target(place: Path) -> None:
    (place / "words.json").write_text(
        json.dumps({"schema_version": 1, "attributes": ["color", "shape"]})
    )
    one = ("TRAINER.LOREAL.N_ATTRIBUTES", "2")
    plain, other = engine("xd", "maple", *one), engine("xd", "maple", *one, *TARGET_WORDS)
    for name in ALL:
        assert plain.identity.stage_key(name) == other.identity.stage_key(name)
        assert plain.plan.stages[name].folder == other.plan.stages[name].folder
    keys = {evaluation_key(made, "loreal", "other") for made in (plain, other)}
    assert len(keys) == 1, "both datasets have the generic words, so nothing differs"
    assert evaluation_key(plain, "loreal", "other") != evaluation_key(plain, "loreal", "drawn")
    found = other.identity
    found._plan.tests["other"] = found._plan.tests["other"].__class__(
        **{
            **vars(found._plan.tests["other"]),
            "config": bundle_root() / "configs" / "datasets" / "demo-frames.yaml",
            "options": (),
        }
    )
    assert found.attributes_on("other") == ["color", "place"] != found.attributes_on("pics")
    assert plain.identity.attributes_on("other") == plain.identity.attributes_on("pics")


def test_base2new_has_its_own_stages_and_keys(place: Path) -> None:
    ours, theirs = engine(), prepare(spec(), say=lambda text: None)
    assert theirs.plan.protocol is BASE2NEW and theirs.plan.source == "base"
    for name in ALL:
        assert ours.identity.stage_key(name) != theirs.identity.stage_key(name)
    assert theirs.plan.record == theirs.plan.stages["loreal"].folder
    assert ours.plan.record.relative_to(place / "out").parts[:3] == ("xd", "run", "pics")


def test_folders_name_source_and_target(place: Path) -> None:
    plan = engine("dg").plan
    below = place / "out"
    tail = "shots_2/MaPLe_LOREAL/phi32/"
    assert str(plan.stages["loreal"].folder.relative_to(below)).startswith(f"xd/train/pics/{tail}")
    folders = next(row for row in plan.rows if row.name == "loreal").folders
    assert str(folders["drawn"].relative_to(below)).startswith(f"dg/test/pics/drawn/{tail}")
    assert str(folders["pics"].relative_to(below)).startswith(f"xd/test/pics/pics/{tail}"), (
        "shared with xd"
    )
    every = [folder for row in plan.rows for folder in row.folders.values()]
    assert len(set(every)) == len(every)


def test_mmrl_hears_the_name_of_its_task() -> None:
    from loreal_plugin.runs.plan import build_plan, family_argv

    def task(protocol: Protocol, method: str) -> str | None:
        made = build_spec(method, "32", "demo", "1", weights="demo")
        plan = build_plan(made, native_size=64, patch_size=16, protocol=protocol)
        stage = plan.stages["alpha"]
        words = family_argv(plan, stage, folder=stage.folder, size=64, subset=plan.source)
        return words[words.index("TASK") + 1] if "TASK" in words else None

    assert [task(p, "mmrl") for p in (BASE2NEW, FEW_SHOT, protocol_of("xd", "demo"))] == [
        "B2N",
        "FS",
        "CD",
    ]
    assert task(FEW_SHOT, "coop") is None


def test_record_of_a_run_has_what_the_schema_page_names(calls: Calls, place: Path) -> None:
    run("xd")
    (path,) = (place / "out" / "xd" / "run").rglob(RESULTS)
    record = read_results(path.parent)
    assert (record["protocol"], record["kind"], record["stage"], record["phi"]) == (
        "xd",
        "run",
        "loreal",
        32,
    )
    roles = {name: facts["role"] for name, facts in record["targets"].items()}
    assert roles == {"pics": "source", "drawn": "target", "other": "target"}
    assert [facts["classes"] for facts in record["targets"].values()] == [4, 4, 3]
    page = (bundle_root() / "docs" / "RESULTS_SCHEMA.md").read_text(encoding="utf-8")
    parts = [
        record,
        *record["rows"],
        *record["targets"].values(),
        record["rows"][0]["targets"]["drawn"],
    ]
    assert {
        name
        for part in parts
        for name in part
        if f"`{name}`" not in page and f".{name}`" not in page
    } == set()
    stage = read_results(place / "out" / record["stages"]["loreal"]["folder"])
    assert (stage["protocol"], stage["kind"]) == ("xd", "stage") and "rows" not in stage


def test_average_is_over_the_targets_alone(place: Path) -> None:
    of_role = roles(engine().plan)
    scores = {
        name: {"accuracy": value} for name, value in zip(of_role, (99.0, 40.0, 20.0), strict=True)
    }
    assert average(of_role, scores) == 30.0
    assert average({"pics": of_role["pics"]}, {"pics": scores["pics"]}) == 99.0


@pytest.mark.parametrize(
    ("hits", "text"), [([], ""), ([True], "80"), ([False] * 8 + [True, True], "00c0")]
)
def test_hits_are_packed_first_picture_highest(hits: list[bool], text: str) -> None:
    assert pack_bits(hits) == text


def test_dry_run_prints_every_command_and_writes_nothing(
    calls: Calls, place: Path, capsys: Any
) -> None:
    before = sorted(place.rglob("*"))
    run("xd", "--dry-run")
    lines = capsys.readouterr().out.splitlines()
    assert calls.look() == [] and sorted(place.rglob("*")) == before
    commands = [shlex.split(line) for line in lines if not line.startswith("#")]
    assert len(commands) == 12 and all(words[:2] == ["loreal", "train"] for words in commands)
    tests = [words for words in commands if "--eval-only" in words]
    assert len(tests) == 9
    trained = {
        words[words.index("--output-dir") + 1] for words in commands if "--eval-only" not in words
    }
    assert {words[words.index("--model-dir") + 1] for words in tests} == trained
    assert any("'drawn'" in words for words in tests)
    assert lines[:2] == [
        "# no attribute file for dataset 'pics': the generic words are used",
        "# stage 1/3, alpha: MaPLe at 64",
    ]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        # 3 stages, new of every row, base once more; 2 stages and one test; two sizes
        (("base2new", "maple", "32", "pics", "--shots", "2"), 8),
        (("few_shot", "maple", "32", "pics", "--shots", "2", "--until", "beta"), 3),
        (("zero_shot", "maple", "32", "pics"), 2),
    ],
)
def test_dry_run_of_the_other_protocols(
    calls: Calls, place: Path, capsys: Any, words: tuple[str, ...], count: int
) -> None:
    assert main([*words, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert calls.look() == [] and not (place / "out").exists()
    told = [line for line in lines if line.startswith("#") and "attribute file" not in line]
    assert len(told) == count


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("TRAINER.LOREAL.PRESET", "authors"), "SLOT_ORDER slots_first is not possible"),
        (("TRAINER.LOREAL.ENABLED", "False"), "the host alone"),
        (("loreal:TRAINER.MAPLE.N_CTX", "3"), "stage 3 would build other students"),
        (("adapted:TRAINER.MAPLE.N_CTX", "3"), "stage 'adapt' would build other students"),
        (("adapted:INPUT.INTERPOLATION", "nearest"), "would build other students"),
        (("TRAINER.LOREAL.N_CONTENT", "16"), "77"),
        (("TRAINER.LOREAL.N_ATTRIBUTES", "50"), "50"),
    ],
)
def test_a_dry_run_refuses_what_the_run_refuses(
    calls: Calls, place: Path, capsys: Any, words: tuple[str, ...], said: str
) -> None:
    before, errors = sorted(place.rglob("*")), []
    for kind in (["--dry-run"], []):
        assert main(["base2new", "maple", "32", "pics", "--shots", "2", *kind, "--", *words]) == 2
        errors.append(capsys.readouterr().err)
    assert errors[0] == errors[1] and said in errors[0]
    assert calls.look() == [] and sorted(place.rglob("*")) == before


def test_a_run_that_stops_early_has_a_record_of_its_own(calls: Calls, place: Path) -> None:
    run("few_shot", "--until", "beta")
    assert "loreal" not in calls.look()
    (path,) = (place / "out" / "few_shot" / "run").rglob(RESULTS)
    assert [row["name"] for row in read_results(path.parent)["rows"]] == [
        "native",
        "native_at_phi",
        "phi",
    ]
    run("few_shot")
    assert len(list((place / "out" / "few_shot" / "run").rglob(RESULTS))) == 2


def test_few_shot_makes_a_run_for_each_number_and_one_table(
    calls: Calls, place: Path, capsys: Any
) -> None:
    assert main(["few_shot", "maple", "32", "pics", "--shots", "1, 2"]) == 0
    assert calls.look().count("alpha") == 2
    out = capsys.readouterr().out
    assert ["shots", "1", "2"] in [line.split() for line in out.splitlines()]
    found = {
        read_results(path.parent)["shots"]
        for path in (place / "out" / "few_shot" / "run").rglob(RESULTS)
    }
    assert found == {1, 2}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("xd", "maple", "32", "pics"), "set TARGETS (--targets)"),
        (("dg", "maple", "32", "imagenets"), "did you mean 'imagenet'"),
        (
            ("xd", "maple", "32", "pics", "--targets", "pics other"),
            "names pics twice, or names the source",
        ),
        (("xd", "maple", "32", "pics", "--targets", "othr"), "unknown dataset 'othr'"),
        (("xd", "maple", "40", "pics", "--targets", "other"), "multiple of the patch size"),
        (("xd", "maples", "32", "pics", "--targets", "other"), "'maples'"),
        (("xd", "maple", "32", "pics", "1", "2", "--targets", "other"), "see loreal xd --help"),
        (("few_shot", "maple", "32", "pics", "--shots", "1 x"), "SHOTS must be a whole number"),
        (("few_shot", "maple", "32", "pics", "--shots", "2 2"), "SHOTS names a number twice"),
        (("zero_shot", "maple"), "PHI is missing"),
        (("zero_shot", "32", "pics", "1", "more"), "see loreal zero_shot --help"),
        (("rivals", "maple", "32", "--faster"), "see loreal rivals --help"),
        (("zero_shot", "mapel", "32"), "did you mean 'maple'"),
        (("zero_shot", "32", "pics", "1", "--", "OPTIM.LR", "1"), "no setting 'OPTIM.LR'"),
        (
            ("xd", "maple", "32", "pics", "1", "--targets", "other", "--", "TASK", "FS"),
            "'TASK' cannot be overridden",
        ),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(
    place: Path, capsys: Any, words: tuple, said: str
) -> None:
    assert main([*words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and said in line
    assert not (place / "out").exists()


@pytest.mark.parametrize("protocol", ["base2new", "few_shot"])
def test_a_test_only_dataset_is_not_trained_on(place: Path, capsys: Any, protocol: str) -> None:
    folder = place / "data" / "imagenet-adversarial"
    tiny_image_folder(folder / "imagenet-a", classes=2, per_class=2)
    (folder / "classnames.txt").write_text("airplane plane\nbrain brain\n")
    assert main([protocol, "maple", "32", "imagenet_a", "1", "--shots", "1"]) == 2
    said = capsys.readouterr().err
    assert "'imagenet_a' cannot be trained on: 4 of its training pictures are test pictures" in said
    assert not (place / "out").exists()
    assert main(["zero_shot", "32", "imagenet_a", "--out", str(place / "out")]) == 0
    named = f"loreal dg maple 32 imagenet --out {place / 'out'}\n"
    assert named in capsys.readouterr().out, "what tests it, where this run's results are"
    (path,) = (place / "out").rglob(RESULTS)
    record = read_results(path.parent)
    assert list(record["targets"]) == ["all"] and record["rows"][0]["hm"] is None


def test_every_target_of_a_known_source_is_a_dataset() -> None:
    known = {path.stem for path in (bundle_root() / "configs" / "datasets").glob("*.yaml")}
    named = {name for row in (XD, DG) for targets in row.known_targets.values() for name in targets}
    assert named <= known and len(XD.known_targets["imagenet"]) == 10
    with pytest.raises(ConfigError, match="TARGETS"):
        protocol_of("xd", "caltech101")
