"""Controls and rivals find their place beside the run that they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_runs import write_run
from test_run_table import record

from loreal_plugin.errors import LorealError
from loreal_plugin.files import write_json
from loreal_plugin.options import INFERENCE_ONLY, LorealOptions, options_dict
from loreal_plugin.results.reader import collect
from loreal_plugin.results.record import RESULTS
from loreal_plugin.results.run import run_of
from loreal_plugin.results.seed_tables import format_seed_tables, read_runs
from loreal_plugin.results.variants import (
    CONSTANT,
    LONGER,
    Placed,
    longer_epochs,
    place,
)


def controlled(*override: str) -> dict[str, Any]:
    return record() | {"overrides": [list(override)]}


UNCHANGED = {
    "stages": {
        "beta": {"epochs": 20, "steps_per_epoch": 10},
        "loreal": {"epochs": 5, "steps_per_epoch": 40},
    }
}


def placed(
    found: dict[str, Any],
    configuration: str = "demo-0123abcd",
    unchanged: dict[str, Any] | None = UNCHANGED,
) -> Placed:
    return place(run_of(found), configuration, unchanged)


def test_constant_conditioning_becomes_one_row_of_the_run_it_controls() -> None:
    merged = placed(controlled("loreal", CONSTANT, "True"))
    assert merged.configuration == "demo"
    assert [(row.name, row.summary) for row in merged.rows] == [("loreal_constant", 70.0)]


def test_another_inference_mode_is_a_row_beside_the_training_it_tests() -> None:
    usual = {
        key: value for key, value in options_dict(LorealOptions()).items() if key in INFERENCE_ONLY
    }
    inference = usual | {"INFERENCE": "auto", "SHORTLIST_K": 3, "calibration": 0.1}
    stages = {
        "loreal": {
            "folder": "base2new/train_base/demo/shots_16/MaPLe_LOREAL/phi96/demo-89abcdef/seed1"
        }
    }
    merged = placed(
        controlled("loreal", "OPTIM.LR", "1") | {"inference": inference, "stages": stages}
    )
    assert merged.configuration == "demo-89abcdef"
    assert merged.overrides == ("loreal OPTIM.LR 1",)
    assert merged.asked == (
        "loreal OPTIM.LR 1",
        "loreal TRAINER.LOREAL.INFERENCE auto",
        "loreal TRAINER.LOREAL.SHORTLIST_K 3",
    )
    (row,) = merged.rows
    assert (row.name, row.label) == (
        "loreal_auto_3",
        "+ LOREAL, INFERENCE auto, SHORTLIST_K 3",
    )


def test_a_longer_stage_2_becomes_a_row_of_the_host() -> None:
    longer = controlled("beta", LONGER, "40")
    for trainer in ("MaPLe", "MaPLe_LOREAL"):
        # a record names the trainer of its last stage: of stage 3 where that was run, too
        merged = placed(longer | {"trainer": trainer})
        assert [(row.name, row.summary) for row in merged.rows] == [("phi_longer", 60.0)]
        assert merged.rows[0].label == (
            "MaPLe at 96, trained on for as many steps as stage 3 takes"
        )


def test_another_length_of_stage_2_stays_a_run_of_its_own() -> None:
    for epochs in ("20", "39", "41", "40.5"):
        other = placed(controlled("beta", LONGER, epochs))
        assert other.configuration == "demo-0123abcd" and len(other.rows) == 4 and other.ablation
    longer = controlled("beta", LONGER, "40")
    assert not placed(longer, unchanged=None).control, "nobody knows how long stage 3 is"
    until_beta = {"stages": {"beta": UNCHANGED["stages"]["beta"]}}
    assert not placed(longer, unchanged=until_beta).control


def test_any_other_override_stays_a_table_of_its_own() -> None:
    for override in (
        ("loreal", CONSTANT, "False"),
        ("loreal", "OPTIM.LR", "1"),
        ("all", LONGER, "40"),
    ):
        merged = placed(controlled(*override))
        assert merged.configuration == "demo-0123abcd" and len(merged.rows) == 4


def test_only_runs_with_overrides_of_their_own_are_ablations() -> None:
    assert not placed(record(), "demo").ablation
    assert not placed(controlled("loreal", CONSTANT, "True")).ablation
    assert not placed(controlled("beta", LONGER, "40")).ablation
    assert placed(controlled("loreal", "OPTIM.LR", "1")).ablation


def test_tables_and_reports_compare_the_length_with_the_run_it_would_control(
    tmp_path: Path,
) -> None:
    """Of the made runs stage 2 has 5 epochs of 40 steps, and so has stage 3."""
    write_run(tmp_path)
    for epochs in (10, 12):
        longer = [["beta", LONGER, str(epochs)]]
        write_run(tmp_path, label=f"demo-{epochs:08x}", overrides=longer)
    for rows in (
        [(p.run["overrides"], r.name) for p in read_runs(tmp_path) for r in p.rows],
        [([o.split() for o in r.asked], r.row) for r in collect(tmp_path).results],
    ):
        of = {
            n: [name for asked, name in rows if asked[:1] == [["beta", LONGER, n]]]
            for n in ("10", "12")
        }
        assert of == {"10": ["phi_longer"], "12": ["native", "native_at_phi", "phi", "loreal"]}


def test_longer_epochs_round_up_to_whole_epochs() -> None:
    beta = {"epochs": 10, "steps_per_epoch": 20}
    assert longer_epochs(beta, 40) == 12
    assert longer_epochs(beta, 41) == 13


def test_rivals_stand_below_the_run_with_their_cost(tmp_path: Path) -> None:
    plain = tmp_path / "base2new/train_base/demo/shots_16/MaPLe_LOREAL/phi96/demo/seed1"
    rival = {
        "name": "zero-shot, ridge",
        "label": "zero-shot, ridge (penalty 0.1)",
        "base": {"accuracy": 40.0, "total": 5},
        "new": {"accuracy": 60.0, "total": 5},
        "hm": 48.0,
        "milliseconds": 1.5,
    }
    write_json(plain / RESULTS, record())
    folder = tmp_path / "base2new/rivals/demo/shots_16/MaPLe/phi96/demo/seed1"
    write_json(folder / RESULTS, record() | {"kind": "rivals", "rows": [rival]})
    lines = format_seed_tables(read_runs(tmp_path)).splitlines()
    table = [line for line in lines if line.startswith("| maple")]
    assert len(table) == 5
    (head,) = (line for line in lines if line.startswith("| method"))
    assert head.endswith("| ms / picture | ms in batches | n |"), "as in the table of rivals"
    assert (
        table[-1]
        == "| maple | zero-shot, ridge | 40.00 | 60.00 | 48.00 | - | - | - | - | 1.50 | 1 |"
    )


def test_rivals_of_an_older_release_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "base2new/rivals/demo/shots_16/MaPLe/phi96/demo/seed1"
    old = {
        "name": "zero-shot",
        "base": 40.0,
        "new": 60.0,
        "hm": 48.0,
        "n_base": 1,
        "n_new": 1,
        "milliseconds": 1.5,
    }
    write_json(folder / RESULTS, record() | {"kind": "rivals", "rows": [old]})
    with pytest.raises(
        LorealError, match="is of an older release; run `loreal rivals` with its arguments again"
    ):
        read_runs(tmp_path)
