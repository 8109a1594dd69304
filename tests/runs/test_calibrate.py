"""`loreal calibrate` on a finished run; the mode that it names changes tests, not trainings."""

from __future__ import annotations

import json
import shlex
import shutil
from typing import Any

import pytest
from world import FAST, OURS, RUN, World

from loreal_plugin.options import INFERENCE_ONLY
from loreal_plugin.results.record import read_results
from loreal_plugin.results.seed_tables import read_runs
from loreal_plugin.runs.folders import config_label
from loreal_plugin.runs.keys import stage_config
from loreal_plugin.runs.spec import build_spec

L = "TRAINER.LOREAL."
MODES = ["exact", "shortlist of 5", "tangent jacobian", "tangent fitted", "auto", "static"]


@pytest.fixture(scope="module")
def world(miniature: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Give a world without any run."""
    made = miniature.copy(tmp_path_factory.mktemp("calibrate") / "world")
    shutil.rmtree(made.out)
    return made


@pytest.fixture
def call(world: World, command_line: Any) -> Any:
    """Give a function that runs the command line here and returns exit code, stdout, stderr."""
    return command_line(world.env)


def test_calibration_then_auto_from_end_to_end(world: World, miniature: World, call: Any) -> None:
    code, _, error = call("calibrate", *RUN, "--", *FAST)
    assert code == 2 and "stage 3" in error and "run base2new_train.sh first" in error
    shutil.copytree(miniature.out, world.out)
    (plain,) = world.folders(f"{OURS}/*")
    before, record = world.stamps(), read_results(plain)
    assert record["inference"]["chosen"]["views"] >= 40

    auto = ("--", *FAST, f"{L}INFERENCE", "auto")
    code, _, error = call("base2new", *RUN, *auto)
    assert code == 2 and "no threshold" in error and "loreal calibrate" in error

    code, out, _ = call("calibrate", *RUN, "--pictures", "40", "--target", "90", "--", *FAST)
    assert (
        code == 0 and "crops that stage 3 never drew" in out and "threshold of auto for 90 %" in out
    )
    assert f"Next: {shlex.join(['loreal', 'base2new', *RUN, *auto])}\n" in out, "the same run"
    table = json.loads((plain / "loreal" / "inference" / "calibration.json").read_text())
    assert [row["mode"] for row in table["rows"]] == MODES and all(
        row["mode"] in out for row in table["rows"]
    )
    exact, *rest = table["rows"]
    assert exact["agreement"] == 100 and exact["largest_error"] == 0 and exact["checked"] == 100
    assert all(
        row["milliseconds"] > 0 and row["milliseconds_alone"] > 0 and row["peak_mib"] > 0
        for row in rest
    )
    assert table["chosen"]["mode"] in MODES and table["pictures"]["embeddings"] >= 40
    assert {row["mode"]: row["table_mib"] > 0 for row in rest}["tangent fitted"]

    code, out, error = call("base2new", *RUN, *auto)
    assert code == 0, error
    assert out.count("complete (key ") == 3, "how stage 3 predicts is no reason to train it again"
    now = {name: stamp for name, stamp in world.stamps().items() if "inference" not in name}
    before = {name: stamp for name, stamp in before.items() if "inference" not in name}
    assert now == before and read_results(plain) == record
    other = next(folder for folder in world.folders(f"{OURS}/*") if folder != plain)
    assert read_results(other)["inference"]["INFERENCE"] == "auto"
    assert read_results(other)["inference"]["calibration"] == table["margin"]
    assert read_results(other)["stages"]["loreal"] == record["stages"]["loreal"]
    assert {row.name for run in read_runs(world.out) for row in run.rows} >= {
        "loreal",
        "loreal_auto",
    }


@pytest.mark.parametrize("target", ["0", "101", "most", "nan"])
def test_targets_that_are_no_percentage_are_refused(call: Any, target: str) -> None:
    code, _, error = call("calibrate", *RUN, "--target", target)
    assert code == 2 and "--target must be a percentage" in error and error.count("\n") == 1


@pytest.mark.parametrize("name", sorted(INFERENCE_ONLY))
def test_inference_keys_are_no_part_of_a_training(name: str) -> None:
    cfg = {"SEED": 1, "TRAINER": {"NAME": "x", "LOREAL": {"PHI": 96, name: "a"}}}
    assert stage_config(cfg, host_node="MAPLE", loreal=True) == {
        "SEED": 1,
        "TRAINER.NAME": "x",
        f"{L}PHI": 96,
    }
    spec = build_spec("maple", "96", weights="demo", opts=[f"{L}{name}", "1"], env={}, out="/out")
    assert config_label(spec, "loreal") == "demo"
    assert config_label(spec, "loreal", testing=True).startswith("demo-")
    assert config_label(spec, "alpha", testing=True) == "demo"


def test_a_budget_counts_once_it_is_set() -> None:
    def settings(budget: int) -> dict[str, Any]:
        cfg = {"TRAINER": {"NAME": "x", "LOREAL": {"MEMORY_BUDGET_MB": budget}}}
        return stage_config(cfg, host_node="MAPLE", loreal=True)

    assert settings(0) == {"TRAINER.NAME": "x"}
    assert settings(100) == {"TRAINER.NAME": "x", f"{L}MEMORY_BUDGET_MB": 100}
