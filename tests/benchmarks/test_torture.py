"""The short form of `benchmarks/torture.py`: a few kills and flips; a fault is not overlooked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from made_runs import facts
from python_at_once import python_at_once

RECORD = facts("maple", 96, 1)
ROOT = Path(__file__).resolve().parents[2]


def test_a_few_kills_and_flips_lose_nothing(tmp_path: Path) -> None:
    few = ["--kills", "2", "--flips", "60", "--heals", "1", "--tests", "1", "--writes", "1"]
    few += ["--until", "alpha", "--json", str(tmp_path / "rows")]
    command = [python_at_once(), "benchmarks/torture.py", *few]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["what"]: row for row in json.loads((tmp_path / "rows").read_text())}
    assert rows["bits flipped, one at a time"]["number"].startswith("60 of 60 found")
    assert all(row["faults"] == [] for row in rows.values()) and len(rows) == 5


def test_differences_are_seen(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from torture_world import differences, flip

    from loreal_plugin.results.record import RESULTS, write_record

    for name in ("quiet", "other"):
        write_record(tmp_path / name / "run", RECORD | {"seconds": float(len(name))})
    assert list(differences(tmp_path / "quiet", tmp_path / "other")) == []
    write_record(tmp_path / "other" / "run", RECORD | {"images": "others"})
    path = tmp_path / "other" / "run" / RESULTS
    found = differences(tmp_path / "quiet", tmp_path / "other")
    assert found == [f"{path} differs at /images: 'i' and 'others'"]
    flip(path, 90)
    assert any("is not" in text for text in differences(tmp_path / "quiet", tmp_path / "other"))
    path.unlink()
    assert differences(tmp_path / "quiet", tmp_path / "other") == [f"{path} is missing"]
