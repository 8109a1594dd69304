"""What two runs must share to be repetitions of each other, and which test belongs to which run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_runs import TOTAL, facts, write_run

from loreal_plugin.files import read_json, write_json
from loreal_plugin.results.group import Refusal, group_results
from loreal_plugin.results.reader import collect
from loreal_plugin.results.record import RESULTS
from loreal_plugin.results.seed_tables import format_seed_tables, read_runs

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


def refused(out: Path) -> list[Refusal]:
    """Return the rows of an output folder that must not be averaged."""
    return group_results(collect(out).results)[1]


def write_adapted(out: Path, seed: int, adaptation: dict[str, Any] | None) -> None:
    """Write a run with an adapted student; None: what its adaptation was is not told."""
    path = write_run(out, seed=seed) / RESULTS
    record = read_json(path)
    place = f"base2new/train_base/demo/shots_16/maple_LOREAL/adapt_phi96/demo/seed{seed}"
    record["stages"]["adapt"] = record["stages"]["beta"] | {"key": f"a{seed}", "folder": place}
    record["rows"].append(record["rows"][-1] | {"name": "adapted", "label": "adapted"})
    write_json(path, record)
    stage = facts("maple", 96, seed, stage="adapt", key=f"a{seed}")
    told = {} if adaptation is None else {"adaptation": adaptation}
    write_json(out / place / RESULTS, stage | told)


def adaptation(seed: int, pictures: str | None = None, **settings: Any) -> dict[str, Any]:
    """Return what a record says of an adaptation."""
    return {"settings": {"rank": 8, "seed": seed} | settings, "pictures": pictures}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (adaptation(2, rank=16), "adaptation: rank (8 and 16)"),
        (adaptation(2, enlarge=224), "adaptation: enlarge (0 and 224)"),
        (adaptation(2, "abc"), "adaptation: pictures (None and 'abc')"),
    ],
)
def test_students_of_different_adaptations_are_not_averaged(
    tmp_path: Path, other: dict[str, Any], said: str
) -> None:
    write_adapted(tmp_path, 1, adaptation(1))
    write_adapted(tmp_path, 2, other)
    (only,) = refused(tmp_path)
    assert (only.row, only.reason) == ("adapted", f"seed 1 and seed 2 differ in {said}")


def test_seeds_of_one_adaptation_are_averaged_with_what_older_records_do_not_tell(
    tmp_path: Path,
) -> None:
    write_adapted(tmp_path, 1, None)
    write_adapted(tmp_path, 2, adaptation(2))
    write_adapted(tmp_path, 3, adaptation(3))
    assert refused(tmp_path) == []
    write_adapted(tmp_path, 3, adaptation(3, rank=16))
    (only,) = refused(tmp_path)
    assert only.reason == "seed 2 and seed 3 differ in adaptation: rank (8 and 16)"


def write_tested(out: Path, seed: int, labels: str | None, *names: str) -> None:
    """Write a run that was tested on these new pictures; None: which they are is not told."""
    path = write_run(out, seed=seed) / RESULTS
    lists = {"new": {"classnames": names or ("cat", "dog"), "labels": labels}}
    write_json(path, read_json(path) | ({} if labels is None else {"test_sets": lists}))


def test_seeds_that_were_tested_on_other_pictures_are_not_averaged(tmp_path: Path) -> None:
    write_tested(tmp_path, 1, None)
    write_tested(tmp_path, 2, "0 0 1")
    write_tested(tmp_path, 3, "0 0 1")
    assert refused(tmp_path) == []
    for labels, names in (("0 1 1", ()), ("0 0 1", ("cat", "fox"))):
        write_tested(tmp_path, 3, labels, *names)
        reasons = {one.reason.split(" (")[0] for one in refused(tmp_path)}
        assert reasons == {"seed 2 and seed 3 differ in test list of new"}
        assert len(refused(tmp_path)) == 4, "of every row"


def test_tables_of_results_refuse_what_a_report_refuses(tmp_path: Path) -> None:
    write_adapted(tmp_path, 1, adaptation(1))
    write_adapted(tmp_path, 2, adaptation(2, rank=16))
    text = format_seed_tables(read_runs(tmp_path))
    rows = [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| maple")]
    assert len(rows) == 4 and "adapted" not in rows
    (only,) = refused(tmp_path)
    assert text.endswith(f"\n\nnot averaged: {only}\n") and text.count("not averaged") == 1
    write_run(tmp_path, seed=2, config={"OPTIM.LR": 0.5})
    lines = format_seed_tables(read_runs(tmp_path)).splitlines()
    said = [line for line in lines if line.startswith("not averaged: ")]
    assert sorted(said) == sorted(f"not averaged: {one}" for one in refused(tmp_path))
