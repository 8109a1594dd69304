"""Times of runs that have ended tell the times of those that have not; shared stages count once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_runs import write_run, write_targets
from sweep.test_plan import write

from loreal_plugin.files import write_json
from loreal_plugin.options import INFERENCE_ONLY, LorealOptions, options_dict
from loreal_plugin.results.reader import collect
from loreal_plugin.results.record import RESULTS
from loreal_plugin.sweep.estimate import Estimate, clock, estimate, finished
from loreal_plugin.sweep.plan_file import read_plan
from loreal_plugin.sweep.planned_runs import Locations, expand

STAGE = 40.0  # seconds of each stage in the written records; their base-to-new tests tell none


def estimates(tmp_path: Path, **plan: object) -> list[Estimate]:
    base = {"methods": ["maple"], "phis": [96], "seeds": [1]}
    runs = expand(read_plan(write(tmp_path, base | plan)), Locations(tmp_path / "out"), env={})
    return estimate(runs, collect(tmp_path / "out"))


def test_what_is_there_costs_nothing_and_a_new_seed_three_stages(tmp_path: Path) -> None:
    write_run(tmp_path / "out")
    assert estimates(tmp_path, seeds=[1, 2]) == [Estimate(0.0), Estimate(3 * STAGE)]


def test_stages_that_runs_share_count_once(tmp_path: Path) -> None:
    write_run(tmp_path / "out")
    change = {"TRAINER.LOREAL.LLD_WEIGHT": 0.0}
    found = estimates(tmp_path, seeds=[1, 2], variants={"default": {}, "changed": change})
    assert [e.seconds for e in found] == [0.0, STAGE, 3 * STAGE, STAGE]
    host = estimates(tmp_path, variants={"default": {}, "other host": {"host:OPTIM.LR": 1}})
    assert [e.seconds for e in host] == [0.0, 3 * STAGE]
    assert [e.seconds for e in estimates(tmp_path, seeds=[2], until="beta")] == [2 * STAGE]


def test_another_phi_reuses_alpha_and_is_rough(tmp_path: Path) -> None:
    write_run(tmp_path / "out")
    assert estimates(tmp_path, phis=[96, 144]) == [Estimate(0.0), Estimate(2 * STAGE, rough=True)]


def test_tests_on_targets_count(tmp_path: Path) -> None:
    write_targets(tmp_path / "out", "xd")
    (found,) = estimates(tmp_path, protocols=["xd"], seeds=[2])
    # three rows of the host and one of LOREAL, three test sets of 2 seconds each
    assert found.seconds == pytest.approx(3 * STAGE + 4 * 3 * 2)


def test_runs_of_other_targets_are_other_runs(
    tmp_path: Path,
) -> None:
    stages = {"loreal": {"key": "k", "folder": "f"}}
    write_targets(tmp_path / "out", "xd", names=("far", "near"), stages=stages)
    evidence = collect(tmp_path / "out")
    base = {"methods": ["maple"], "phis": [96], "protocols": ["xd"]}

    def there(env: dict[str, str], **plan: object) -> list[bool]:
        runs = expand(read_plan(write(tmp_path, base | plan)), Locations(tmp_path / "out"), env=env)
        return [finished(run, evidence) for run in runs]

    assert there({}, targets=["near", "far"]) == [True]
    assert there({}, targets=["far"]) == there({}) == [False]
    assert there({"TARGETS": "far, near"}) == [True], "as the run's process reads it"


def test_the_host_at_the_native_size_is_tested_once_for_every_phi(tmp_path: Path) -> None:
    write_targets(tmp_path / "out", "xd")
    found = estimates(tmp_path, protocols=["xd"], seeds=[2], phis=[96, 144])
    assert found[1].seconds == pytest.approx(2 * STAGE + 3 * 3 * 2), (
        "stage 1 and its tests belong to both"
    )


def test_a_control_is_found_under_its_own_override(tmp_path: Path) -> None:
    constant = {"TRAINER.LOREAL.CONSTANT_CONDITIONING": True}
    write_run(tmp_path / "out")
    both = {"": {}, "constant": constant}
    assert estimates(tmp_path, variants=both) == [Estimate(0.0), Estimate(STAGE)]
    words = [["loreal", *constant, "True"]]
    write_run(tmp_path / "out", label="demo-aaaaaaaa", overrides=words)
    assert estimates(tmp_path, variants=both) == [Estimate(0.0), Estimate(0.0)]


def test_a_run_in_another_mode_is_found_beside_the_training_it_tests(tmp_path: Path) -> None:
    usual = options_dict(LorealOptions())
    mode = {key: usual[key] for key in INFERENCE_ONLY} | {"INFERENCE": "auto", "calibration": 0.1}
    drift = {"overrides": [["loreal", "TRAINER.LOREAL.DRIFT", "none"]]}
    write_run(tmp_path / "out", inference=mode, **drift)
    evidence = collect(tmp_path / "out")
    wanted = {"TRAINER.LOREAL.DRIFT": "none"}
    assert {r.setting.overrides for r in evidence.results} == {
        ("loreal TRAINER.LOREAL.DRIFT none",)
    }
    variants = {
        "plain": wanted,
        "auto": wanted | {"TRAINER.LOREAL.INFERENCE": "auto"},
        "alone": {"TRAINER.LOREAL.INFERENCE": "auto"},
    }
    plan = {"methods": ["maple"], "phis": [96], "seeds": [1], "variants": variants}
    plan = read_plan(write(tmp_path, plan | {"until": "loreal"}))
    runs = expand(plan, Locations(tmp_path / "out"), env={})
    assert [finished(run, evidence) for run in runs] == [False, True, False]


@pytest.mark.parametrize("until", ["adapt", "adapted"])
def test_runs_to_the_end_are_found_where_their_last_stage_adds_no_row(
    tmp_path: Path, until: str
) -> None:
    usual = options_dict(LorealOptions())
    mode = {key: usual[key] for key in INFERENCE_ONLY} | {"INFERENCE": "auto", "calibration": 0.1}
    words = ["loreal", "TRAINER.LOREAL.INFERENCE", "auto"]
    folder = write_run(tmp_path / "out", inference=mode, overrides=[words])
    plan = {"methods": ["maple"], "phis": [96], "variants": {"auto": {words[1]: words[2]}}}
    plan = read_plan(write(tmp_path, plan | {"until": until}))
    (run,) = expand(plan, Locations(tmp_path / "out"), env={})
    assert not finished(run, collect(tmp_path / "out"))
    record = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    for name in ("adapt", "adapted"):
        record["stages"][name] = record["stages"]["loreal"]
    write_json(folder / RESULTS, record)
    assert finished(run, collect(tmp_path / "out"))


def test_an_unknown_dataset_has_no_estimate(tmp_path: Path) -> None:
    write_run(tmp_path / "out", dataset="other")
    assert estimates(tmp_path) == [Estimate(None)]


def test_rivals_are_no_run_and_a_run_no_rivals(tmp_path: Path) -> None:
    write_run(tmp_path / "out")
    plan = {"methods": ["maple"], "phis": [96], "protocols": ["base2new", "rivals"]}
    runs = expand(read_plan(write(tmp_path, plan)), Locations(tmp_path / "out"), env={})
    assert [finished(run, collect(tmp_path / "out")) for run in runs] == [True, False]
    assert not finished(runs[0], None)


def test_a_plan_from_nothing_counts_what_is_there_and_shared_stages_once(tmp_path: Path) -> None:
    write_run(tmp_path / "out")
    plan = {
        "methods": ["maple"],
        "phis": [96],
        "variants": {"": {}, "other": {"TRAINER.LOREAL.LLD_WEIGHT": 0.5}},
    }
    runs = expand(read_plan(write(tmp_path, plan)), Locations(tmp_path / "out"), env={})
    evidence = collect(tmp_path / "out")
    whole, missing = estimate(runs, evidence, from_nothing=True), estimate(runs, evidence)
    assert missing[0].seconds == 0 and whole[0].seconds >= 3 * STAGE, "all three stages"
    assert whole[1].seconds == missing[1].seconds, "the host stages count with the first run"


def test_durations_read_well() -> None:
    assert [clock(s) for s in (0.4, 89, 91, 3600, 11_100)] == [
        "0 s",
        "89 s",
        "2 min",
        "60 min",
        "3 h 05 min",
    ]


def test_another_protocol_tells_roughly(tmp_path: Path) -> None:
    write_run(tmp_path / "out")
    (found,) = estimates(tmp_path, protocols=["xd"])
    assert found.rough and found.seconds >= 3 * STAGE
