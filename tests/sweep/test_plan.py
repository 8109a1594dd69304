"""Plan files: what they expand to, and that every fault is found before anything runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from loreal_plugin.cli.main import main, parse
from loreal_plugin.cli.run_options import spec_of, target_names
from loreal_plugin.errors import ConfigError
from loreal_plugin.paths import bundle_root
from loreal_plugin.sweep.plan_file import read_plan
from loreal_plugin.sweep.planned_runs import Locations, Run, expand

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"methods": ["coop", "maple"], "phis": [96], "seeds": [1, 2]}


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "HOST", "OUT", "SHOTS", "CLIP_WEIGHTS", "RECIPE"):
        monkeypatch.delenv(name, raising=False)


def write(folder: Path, content: object, name: str = "plan.yaml") -> Path:
    path = folder / name
    path.write_text(
        content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
    )
    return path


def runs_of(path: Path) -> list[Run]:
    return expand(read_plan(path), Locations(path.parent / "out"))


def test_lists_are_crossed_seeds_outside(tmp_path: Path) -> None:
    variants = {"default": {}, "no LLD": {"TRAINER.LOREAL.LLD_WEIGHT": 0.0}}
    runs = runs_of(write(tmp_path, SMALL | {"variants": variants}))
    assert len(runs) == 8 and [run.spec.seed for run in runs] == [1] * 4 + [2] * 4
    assert [run.title for run in runs[:2]] == [
        "base2new coop 96 demo seed 1 [default]",
        "base2new coop 96 demo seed 1 [no LLD]",
    ]
    assert runs[1].words[-3:] == ("--", "TRAINER.LOREAL.LLD_WEIGHT", "0.0")


def test_a_number_that_yaml_takes_for_a_text_is_read_as_on_the_command_line(tmp_path: Path) -> None:
    text = "methods: [coop]\nphis: [96]\nvariants: {slow: {TRAINER.LOREAL.ADAPT_LR: 1e-3}}\n"
    (run,) = runs_of(write(tmp_path, text))
    assert run.words[-2:] == ("TRAINER.LOREAL.ADAPT_LR", "1e-3")


def test_the_words_make_the_same_run_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOTS", "4")
    run, *_ = runs_of(write(tmp_path, SMALL))
    assert run.spec.shots == 4 and run.words[run.words.index("--shots") + 1] == "4"
    for flag in ("--out", "--data", "--weights", "--recipe"):
        assert flag in run.words


RIVALS_OF_OTHERS = ["rivals_xd", "rivals_dg", "rivals_few_shot"]


@pytest.mark.parametrize(
    "protocol", ["base2new", "xd", "dg", "few_shot", "rivals", *RIVALS_OF_OTHERS]
)
def test_the_words_are_those_of_the_command(tmp_path: Path, protocol: str) -> None:
    plan = SMALL | {
        "protocols": [protocol],
        "shots": [2],
        "variants": {"v": {"TRAINER.LOREAL.LLD_WEIGHT": 0.5}},
    }
    if protocol.removeprefix("rivals_") in ("xd", "dg"):
        plan |= {"targets": ["demo-marks", "demo-shapes"]}
    for run in runs_of(write(tmp_path, plan)):
        args = parse(run.words)
        command, _, of = (
            protocol.partition("_") if protocol in RIVALS_OF_OTHERS else (protocol, "", "")
        )
        assert args.command == command and spec_of(args) == run.spec
        assert not of or args.protocol == of == run.setting.protocol
        if run.table in ("xd", "dg"):
            assert target_names(args.targets) == ["demo-marks", "demo-shapes"]


def test_until_stops_everything_that_trains(tmp_path: Path) -> None:
    names = ["base2new", "xd", "dg", "few_shot", "rivals", "rivals_xd", "zero_shot"]
    plan = SMALL | {"protocols": names, "until": "beta", "shots": [2]}
    for run in runs_of(write(tmp_path, plan)):
        trains = run.protocol in names[:4]
        assert run.until == ("beta" if trains else None) and ("--until" in run.words) == trains
        if trains:
            assert parse(run.words).until == "beta"


def test_targets_of_the_top_serve_the_blocks_that_test_on_any(tmp_path: Path) -> None:
    blocks = [{"protocols": ["few_shot"], "shots": [1]}, {"protocols": ["dg"]}]
    plan = SMALL | {"targets": ["demo-marks"], "runs": blocks}
    found = {run.protocol: "--targets" in run.words for run in runs_of(write(tmp_path, plan))}
    assert found == {"few_shot": False, "dg": True}


@pytest.mark.parametrize(
    "change, place",
    [
        ({"targets": ["demo-marks"]}, "plan.yaml"),
        ({"runs": [{"protocols": ["xd"]}, {"targets": ["demo-marks"]}]}, r"runs\[1\]"),
        ({"protocols": ["few_shot", "rivals"], "targets": ["demo-marks"]}, "plan.yaml"),
    ],
)
def test_targets_that_nothing_tests_on_are_refused(
    tmp_path: Path, change: dict[str, object], place: str
) -> None:
    said = f"{place}: targets are what xd, dg, rivals_xd, rivals_dg test on, and there is none"
    with pytest.raises(ConfigError, match=said):
        read_plan(write(tmp_path, SMALL | change))


def test_blocks_take_the_place_of_the_top_and_repetitions_go(tmp_path: Path) -> None:
    plan = SMALL | {
        "runs": [
            {},
            {"phis": [96, 144]},
            {"protocols": ["few_shot"], "shots": [1, 2], "seeds": [1]},
        ]
    }
    runs = runs_of(write(tmp_path, plan))
    assert sum(run.protocol == "base2new" for run in runs) == 8
    assert [run.words[-3:] for run in runs if run.protocol == "few_shot"][0][-2:] == (
        "--recipe",
        "demo",
    )
    assert len([run for run in runs if run.protocol == "few_shot"]) == 4


def test_rivals_come_last_and_zero_shot_is_one_run_a_phi(tmp_path: Path) -> None:
    plan = SMALL | {"protocols": ["rivals_xd", "rivals", "base2new", "zero_shot"]}
    runs = runs_of(write(tmp_path, plan))
    assert [run.protocol for run in runs] == ["base2new"] * 4 + ["zero_shot"] + [
        "rivals_xd"
    ] * 4 + ["rivals"] * 4
    assert {run.family[0] for run in runs if run.rivals} == {"base2new", "xd"}
    assert [run.words[:3] for run in runs if run.protocol == "zero_shot"] == [
        ("zero_shot", "96", "demo")
    ]


def test_included_plans_run_first(tmp_path: Path) -> None:
    write(tmp_path, SMALL | {"seeds": [7]}, "other.yaml")
    runs = runs_of(write(tmp_path, SMALL | {"include": ["other.yaml"]}))
    assert [run.spec.seed for run in runs] == [7, 7, 1, 1, 2, 2]


def test_factors_become_variants_of_their_basis(tmp_path: Path) -> None:
    factor = {
        "name": "losses",
        "question": "which?",
        "basis": {"TRAINER.LOREAL.PRESET": "paper"},
        "methods": ["coop"],
        "variants": {"both": {}, "no LLD": {"TRAINER.LOREAL.LLD_WEIGHT": 0}},
        "claims": [{"better": "both", "worse": "no LLD", "published": "yes"}],
    }
    runs = runs_of(write(tmp_path, SMALL | {"factors": [factor]}))
    assert {run.spec.method for run in runs} == {"coop"} and len(runs) == 4
    assert runs[1].variant == "losses: no LLD"
    assert runs[1].words[-4:] == (
        "TRAINER.LOREAL.PRESET",
        "paper",
        "TRAINER.LOREAL.LLD_WEIGHT",
        "0",
    )


@pytest.mark.parametrize(
    "change, said",
    [
        ({"method": ["coop"]}, "unknown key 'method'; did you mean 'methods'?"),
        ({"methods": ["mapel"]}, "unknown method 'mapel'; did you mean 'maple'?"),
        ({"protocols": ["fit"]}, "unknown protocol 'fit'"),
        ({"protocols": ["base2now"]}, "unknown protocol 'base2now'; did you mean 'base2new'?"),
        ({"phis": ["small"]}, "phis must be one or more whole numbers"),
        ({"phis": []}, "phis must be one or more whole numbers"),
        ({"seeds": [True]}, "seeds must be one or more whole numbers"),
        ({"until": "gamma"}, "unknown stage in until 'gamma'"),
        ({"variants": ["a"]}, "variants must be a mapping"),
        ({"variants": {"a": {"TRAINER.LOREAL.BRIGDE": "self"}}}, "did you mean 'BRIDGE'?"),
        (
            {"variants": {"a": {"TRAINER.LOREAL.BRIDGE": "selfish"}}},
            "TRAINER.LOREAL.BRIDGE: 'selfish' is none of",
        ),
        ({"variants": {"a": {"SEED": 3}}}, "'SEED' cannot be overridden"),
        ({"variants": {"a": {"OPTIM.LR": None}}}, "OPTIM.LR needs a value"),
        ({"runs": []}, "runs must be a list of mappings"),
        ({"runs": [{"phi": 96}]}, "runs[0]: unknown key 'phi'"),
        ({"include": ["nowhere.yaml"]}, "no plan 'nowhere.yaml'"),
        ({"include": ["plan.yaml"]}, "goes round in a circle"),
        ({"name": "a/b"}, "name must be a word"),
        ({"datasets": ["birds"]}, "plan plan, base2new coop 96 birds: dataset 'birds' needs DATA"),
        ({"factors": [{"name": "x"}]}, "factors[0] lacks question, variants"),
        (
            {
                "factors": [
                    {
                        "name": "x",
                        "question": "?",
                        "variants": {"a": {}},
                        "claims": [{"better": "a", "worse": "b", "published": ""}],
                    }
                ]
            },
            "unknown variant 'b'",
        ),
    ],
)
def test_a_fault_is_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object], said: str
) -> None:
    path = write(tmp_path, {"name": "plan"} | SMALL | change)
    assert main(["sweep", str(path), "--out", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and said in lines[0], lines
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content, said",
    [
        ("a: [", "is no YAML"),
        ("[1]", "must be a mapping"),
        ("", "must be a mapping"),
        ("name: x", "nothing to run"),
        ("methods: [coop]", "phis is missing"),
    ],
)
def test_a_file_that_is_no_plan(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_plan(write(tmp_path, content))


def test_a_name_that_is_no_plan_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "lr_b2m"]) == 2
    error = capsys.readouterr().err
    assert "did you mean 'lr_b2n'?" in error and "ablations" in error


@pytest.mark.parametrize(
    "path", sorted((bundle_root() / "configs" / "plans").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_shipped_plan_expands(path: Path, tmp_path: Path) -> None:
    plan = read_plan(path.stem)
    runs = expand(plan, Locations(tmp_path, data=str(tmp_path)))
    assert plan.name == path.stem and runs and len({run.command for run in runs}) == len(runs)
    for factor in plan.factors:
        first, *others = factor.variants
        assert others, f"{factor.name} compares nothing"
        assert len(set(factor.variants.values())) == len(factor.variants), (
            f"{factor.name}: two variants are the same"
        )


def test_the_shipped_ablations_cover_what_was_asked_for() -> None:
    keys = {
        word.rpartition(":")[2].removeprefix("TRAINER.LOREAL.")
        for name in ("ablations", "ablations_published")
        for factor in read_plan(name).factors
        for words in factor.variants.values()
        for word in words[::2]
    }
    asked = {
        "BRIDGE",
        "LLD_WEIGHT",
        "HLD_WEIGHT",
        "HLD_DIRECTION",
        "HLD_TAU_SQUARED",
        "HLD_TEMPERATURE",
        "LLD_TEMPERATURE",
        "HIDDEN_DIM",
        "N_CONTENT",
        "N_ATTRIBUTES",
        "SLOT_ORDER",
        "ATTR_SHUFFLE_SEED",
        "VIEWS",
        "CACHE_VIEWS",
        "META_INIT",
        "OPTIM.LR",
        "OPTIM.MAX_EPOCH",
    }
    assert asked <= keys


def test_dry_run_prints_commands_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["sweep", str(write(tmp_path, SMALL)), "--dry-run", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("loreal base2new") == 4 and "4 runs, 0 are there, 4 to make" in printed
    assert "no finished run tells the time of 4 of them" in printed and not out.exists()
    assert os.listdir(tmp_path) == ["plan.yaml"]
