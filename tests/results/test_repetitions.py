"""What two runs must share to be repetitions of each other, and which test belongs to which run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from made_runs import TOTAL, facts, write_run

from loreal_plugin.files import write_json
from loreal_plugin.results.reader import collect
from loreal_plugin.results.record import RESULTS

TEST = Path("base2new", "test_new", "demo", "shots_16", "maple_LOREAL", "phi96")


def write_test(out: Path, label: str, seconds: float, **more: Any) -> None:
    """Write the record of LOREAL's test on new classes."""
    record = facts("maple", 96, 1, kind="evaluation", stage="loreal") | more
    found = {"row": "loreal", "subset": "new", "score": {"accuracy": 50.0, "total": TOTAL}}
    write_json(out / TEST / label / "seed1" / RESULTS, record | found | {"seconds": seconds})


def test_a_test_of_another_recipe_or_host_is_not_this_run_s(tmp_path: Path) -> None:
    mine: dict[str, dict[str, Any]] = {
        "demo": {},
        "other": {"recipe": "other"},
        "away": {"host": {"name": "checkout", "code": "checkout"}},
    }
    for number, (label, more) in enumerate(mine.items(), start=1):
        write_run(tmp_path, label=label, **more)
        write_test(tmp_path, label, float(number), **more)
    rows = [r for r in collect(tmp_path).results if r.row == "loreal"]
    assert {r.path.parent.parent.name: r.scores["new"].seconds for r in rows} == {
        "demo": 1.0,
        "other": 2.0,
        "away": 3.0,
    }
