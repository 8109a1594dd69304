"""A record stays when another run comes: other targets, or one that stops at an earlier stage."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from runs.test_across import Calls, calls, engine, place, run  # noqa: F401  (fixtures)

from loreal_plugin.cli.main import main
from loreal_plugin.results.protocols import XD, own_targets
from loreal_plugin.results.reader import collect
from loreal_plugin.results.record import RESULTS, read_results
from loreal_plugin.runs import rivals
from loreal_plugin.runs.picture_times import known_times
from loreal_plugin.runs.plan import build_plan
from loreal_plugin.runs.protocol import protocol_of
from loreal_plugin.runs.spec import build_spec

KNOWN = XD.known_targets["demo"]


def records(out: Path, protocol: str = "xd") -> list[dict[str, Any]]:
    """Return the records of a protocol's runs."""
    found = [read_results(p.parent) for p in sorted((out / protocol / "run").rglob(RESULTS))]
    return [record for record in found if record]


def rows_of(record: dict[str, Any]) -> list[str]:
    return [row["name"] for row in record["rows"]]


def test_runs_of_other_targets_have_records_of_their_own(
    calls: Calls,  # noqa: F811
    place: Path,  # noqa: F811
) -> None:
    for targets in ("drawn", "other", "drawn other", "other drawn"):
        run("xd", targets=targets)
    found = {frozenset(record["targets"]) - {"pics"} for record in records(place / "out")}
    assert found == {frozenset({"drawn"}), frozenset({"other"}), frozenset({"drawn", "other"})}
    assert len(records(place / "out")) == 3, "the order of targets makes no other table"
    assert calls.look().count("loreal") == 1, "they share their stages"
    settings = {r.setting.targets for r in collect(place / "out").results}
    assert settings == {("drawn",), ("other",), ("drawn", "other")}


def test_rivals_of_other_targets_lie_apart(place: Path) -> None:  # noqa: F811
    made = engine()
    assert rivals._folder(made, "MaPLe").parent.name.startswith(
        f"{made.plan.stages['alpha'].folder.parent.name}-to-"
    )


def test_rivals_of_another_beta_or_of_other_views_lie_apart(place: Path) -> None:  # noqa: F811
    plain = engine()
    label = rivals._folder(plain, "MaPLe").parent.name
    for words in (
        ("beta:OPTIM.MAX_EPOCH", "3"),
        ("TRAINER.LOREAL.CACHE_VIEWS", "2"),
        ("TRAINER.LOREAL.PRESET", "paper"),
    ):
        made = engine("xd", "maple", *words)
        assert rivals._folder(made, "MaPLe").parent.name != label
    other_beta = engine("xd", "maple", "beta:OPTIM.MAX_EPOCH", "3")
    assert rivals._folder(other_beta, rivals.CLIP) == rivals._folder(plain, rivals.CLIP)


def test_times_at_another_phi_are_not_those_of_this_one() -> None:
    row = {"name": "native_at_phi", "picture_ms": 2.0}
    record = {"phi": 96, "stages": {"alpha": {"key": "k"}}, "device": "cpu", "rows": [row]}
    assert known_times(record, record) == {"native_at_phi": 2.0}
    assert known_times(record, record | {"phi": 144}) is None


def test_targets_of_the_source_are_where_they_always_were() -> None:
    def folder(*targets: str) -> str:
        spec = build_spec("maple", "96", "demo", weights="demo", env={}, out="/out")
        protocol = protocol_of("xd", "demo", targets)
        plan = build_plan(spec, native_size=224, patch_size=16, protocol=protocol)
        return plan.record.parent.name

    assert folder() == folder(*KNOWN) == folder(*reversed(KNOWN)) == "demo"
    assert folder(*KNOWN[:2]).startswith("demo-to-") and folder(*KNOWN[:2]) != folder(*KNOWN[:1])
    assert own_targets("xd", "demo", KNOWN) == own_targets("xd", "demo", ()) == ()
    assert own_targets("base2new", "demo", ()) == ()


@pytest.mark.parametrize("protocol", ["base2new", "few_shot"])
def test_a_run_that_stops_earlier_keeps_the_rows_of_one_that_went_on(
    calls: Calls,  # noqa: F811
    place: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    protocol: str,
) -> None:
    def record() -> dict[str, Any]:
        found = [read_results(path.parent) for path in sorted((place / "out").rglob(RESULTS))]
        (whole,) = (one for one in found if one and "adapted" in (one.get("stages") or {}))
        return whole

    run(protocol, "--until", "adapted")
    before, _ = record(), calls.look()
    for more in (["--until", "loreal"], ["--until", "adapt"], ["--until", "loreal", "--test-only"]):
        capsys.readouterr()
        run(protocol, *more)
        trained = {"alpha", "beta", "loreal", "adapt", "adapted"} & set(calls.look())
        assert not trained and "kept in the table: " in capsys.readouterr().out
        after = record()
        assert rows_of(after) == rows_of(before) and rows_of(after)[-1] == "adapted"
        assert after["stages"] == before["stages"]
        # tested again, a row's score on its source is no longer that of its training
        assert after["key"] == before["key"] or "--test-only" in more


def test_later_rows_of_another_training_are_not_kept(
    calls: Calls,  # noqa: F811
    place: Path,  # noqa: F811
) -> None:
    run("few_shot", "--until", "adapted")
    (record,) = records(place / "out", "few_shot")
    shutil.rmtree(place / "out" / record["stages"]["adapted"]["folder"])
    calls.look()
    run("few_shot", "--until", "loreal")
    (record,) = records(place / "out", "few_shot")
    assert rows_of(record)[-1] == "loreal" and "adapted" not in calls.look()
    assert main(["few_shot", "maple", "32", "pics", "1", "--shots", "2", "--until", "beta"]) == 0
    assert len(records(place / "out", "few_shot")) == 2
