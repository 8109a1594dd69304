"""A run is found from the folder of any of its trainings of stage 3."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import facts

from loreal_plugin.files import write_json
from loreal_plugin.results.record import RESULTS
from loreal_plugin.runs.find_run import find_run


@pytest.mark.parametrize("label", ["demo", "demo-0123abcd"])
def test_a_few_shot_training_opens_with_the_record_of_its_run(tmp_path: Path, label: str) -> None:
    below = Path("demo", "shots_1", "MaPLe_LOREAL", "phi96")
    stage = tmp_path / "few_shot" / "train" / below / label / "seed1"
    run = tmp_path / "few_shot" / "run" / below / "demo" / "seed1"
    (stage / "loreal").mkdir(parents=True)
    common = facts("maple", 96, 1, protocol="few_shot", stage="loreal", key="k")
    write_json(stage / RESULTS, common)
    stages = {"loreal": {"key": "k", "folder": str(stage.relative_to(tmp_path))}}
    write_json(run / RESULTS, common | {"kind": "run", "key": "r", "stages": stages})
    for path in (stage, stage / RESULTS, run):
        folder, name, record, out = find_run(path)
        assert (folder, name, record["key"], out) == (stage, "loreal", "r", tmp_path)
    write_json(stage / RESULTS, common | {"key": "another"})
    folder, _, record, out = find_run(stage)
    assert (folder, record["key"], out) == (stage, "another", None), "that run is of other settings"
