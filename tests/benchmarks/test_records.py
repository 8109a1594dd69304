"""Packed records: nothing is lost or added, and the pages of results/ are what they give."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from made_runs import facts, timed, write_run

from benchmarks import choices, records
from benchmarks.demo_world import scale_table
from loreal_plugin.errors import LorealError
from loreal_plugin.files import read_json, write_checked
from loreal_plugin.files.archives import unpack
from loreal_plugin.results.record import RESULTS, SCHEMA_VERSION
from loreal_plugin.runs.spec import parse_overrides


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of which the pages were made of two runs; its records are in `output`."""
    root = tmp_path_factory.mktemp("project")
    for phi in (96, 144):
        write_run(root / "output", phi=phi, gain=0.1)
    timed(write_run(root / "output", method="coop", gain=0.1))
    (root / "results").mkdir()
    parts = "".join(f"<!-- begin {n} -->\n<!-- end {n} -->\n" for n in ("evidence", choices.PART))
    (root / records.TABLES).write_text("By hand.\n\n" + parts)
    (root / records.PICTURES).mkdir(parents=True)
    (root / records.PICTURES / "old.png").write_bytes(b"no longer shown")
    records.write(records.pages(records.Kept(root / "output", None, None), root), root)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob(RESULTS)}


def test_records_are_packed_whole_and_alone(project: Path, tmp_path: Path) -> None:
    out = project / "output"
    (out / "log.txt").write_text("not a record")
    n = records.pack([out], tmp_path / "a.tar.xz")
    unpack(tmp_path / "a.tar.xz", tmp_path / "unpacked")
    assert contents(tmp_path / "unpacked") == contents(out)
    files = [p for p in (tmp_path / "unpacked").rglob("*") if p.is_file()]
    assert len(files) == n == len(contents(out)) > 0


def test_the_same_records_give_the_same_bytes(project: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        records.pack([project / "output"], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_of_two_folders_the_last_one_is_taken(project: Path, tmp_path: Path) -> None:
    later = tmp_path / "later"
    write_run(later, seed=2)
    again = write_run(later, phi=96, gain=0.2)
    records.pack([project / "output", later], tmp_path / "a")
    unpack(tmp_path / "a", tmp_path / "both")
    both, name = contents(tmp_path / "both"), (again / RESULTS).relative_to(later).as_posix()
    assert both == contents(project / "output") | contents(later)
    assert both[name] != contents(project / "output")[name]


def test_a_training_alone_does_not_take_the_place_of_its_run(project: Path, tmp_path: Path) -> None:
    later = shutil.copytree(project / "output", tmp_path / "later")
    path = next(path for path in later.rglob(RESULTS) if "rows" in read_json(path))
    name = path.relative_to(later).as_posix()
    record = read_json(path)
    alone = {key: value for key, value in record.items() if key not in ("rows", "stages")}
    for key, kept in ((record["key"], True), ("another", False)):
        write_checked(path, alone | {"key": key})
        records.pack([project / "output", later], tmp_path / "a")
        unpack(tmp_path / "a", tmp_path / key)
        assert (contents(tmp_path / key)[name] == contents(project / "output")[name]) is kept


def test_of_the_same_test_the_first_record_is_taken(tmp_path: Path) -> None:
    for name, overrides in (("a", []), ("b", [["ADAPT_VIEWS", "128"]])):
        record = facts("maple", 96, 1, kind="evaluation", key="k", overrides=overrides)
        write_checked(tmp_path / name / "test" / RESULTS, record)
    records.pack([tmp_path / "a", tmp_path / "b"], tmp_path / "packed")
    unpack(tmp_path / "packed", tmp_path / "unpacked")
    assert contents(tmp_path / "unpacked") == contents(tmp_path / "a")


def test_sweeps_and_replaced_runs_are_not_packed(project: Path, tmp_path: Path) -> None:
    out = shutil.copytree(project / "output", tmp_path / "out")
    sweep = {"kind": "sweep", "schema_version": SCHEMA_VERSION, "name": "mine", "jobs": 1}
    sweep |= {"seconds": 1.0, "done": 0, "failed": 0, "runs": []}
    write_checked(out / "sweeps" / "mine" / RESULTS, sweep)
    shutil.copytree(next(out.rglob(RESULTS)).parent, out / "demo.replaced")
    records.pack([out], tmp_path / "a")
    unpack(tmp_path / "a", tmp_path / "unpacked")
    assert contents(tmp_path / "unpacked") == contents(project / "output")


def test_a_folder_without_records_or_with_a_damaged_one_is_refused(
    project: Path, tmp_path: Path
) -> None:
    with pytest.raises(LorealError, match=r"below .*typo"):
        records.pack([project / "output", tmp_path / "typo"], tmp_path / "a")
    out = shutil.copytree(project / "output", tmp_path / "out")
    broken = next(out.rglob(RESULTS))
    broken.write_bytes(broken.read_bytes()[:-20])
    with pytest.raises(LorealError, match=broken.parent.name):
        records.pack([out], tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_page_without_the_part_is_an_error(project: Path, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / records.TABLES).write_text("no part")
    with pytest.raises(LorealError, match="could not be made"):
        records.tables(project / "output", tmp_path, tmp_path)


def test_pages_without_an_archive_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (["pages", "--check"], ["unpack", str(tmp_path / "new")]):
        assert records.main(["--packed", str(tmp_path / "none"), *step]) == 2
        assert "is not there; `pack` makes it" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_nothing_to_pack_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert records.main(["--packed", str(tmp_path / "a"), "pack", str(tmp_path)]) == 2
    assert "name the output folder" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_records_are_not_unpacked_over_others(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records.pack([project / "output"], tmp_path / "a")
    (tmp_path / "there").mkdir()
    for place, code in (("there", 2), ("new", 0)):
        assert (
            records.main(["--packed", str(tmp_path / "a"), "unpack", str(tmp_path / place)]) == code
        )
    assert "is there already" in capsys.readouterr().err
    assert contents(tmp_path / "new") == contents(project / "output")
    assert not list((tmp_path / "there").iterdir())


def test_pages_have_the_numbers_and_the_text_by_hand(project: Path) -> None:
    tables = (project / records.TABLES).read_text(encoding="utf-8")
    assert tables.startswith("By hand.") and "+ LOREAL, tested at 96" in tables
    evidence = (project / records.EVIDENCE).read_text(encoding="utf-8")
    shown = {line.split("](")[1].rstrip(")") for line in evidence.splitlines() if line[:2] == "!["}
    assert shown and all((project / "results" / name).is_file() for name in shown)
    assert not (project / records.PICTURES / "old.png").exists()


def test_the_choices_are_in_the_table_and_drawn(project: Path) -> None:
    assert "+ LOREAL: **" in (project / records.TABLES).read_text(encoding="utf-8")
    assert (project / records.CHOICES).read_bytes().startswith(b"\x89PNG")


def test_a_number_that_was_changed_by_hand_is_seen(project: Path, tmp_path: Path) -> None:
    files = records.pages(records.Kept(project / "output", None, None), project)
    assert records.differing(files, project) == []
    page = project / records.EVIDENCE
    whole = page.read_text(encoding="utf-8")
    page.write_text(
        whole.replace("| 73.00 |", "| 74.00 |").replace("**73.00**", "**74.00**"), encoding="utf-8"
    )
    assert records.differing(files, project) == [records.EVIDENCE]
    page.write_text(whole, encoding="utf-8")


def test_ablations_that_share_runs_with_the_evidence_count_once(project: Path) -> None:
    alone = records.pages(records.Kept(project / "output", None, None), project)
    both = records.pages(records.Kept(project / "output", project / "output", None), project)
    assert both.keys() - alone.keys() == {records.ABLATIONS}
    assert both[records.LEDGER] == alone[records.LEDGER]
    assert "| default | - | 73.00 |" in str(both[records.ABLATIONS])


def test_more_classes_are_a_table_and_a_plot(project: Path, tmp_path: Path) -> None:
    words = parse_overrides(["TRAINER.LOREAL.ATTRIBUTES", "demo"])  # the variant "default"
    asked = [[o.scope, o.key, o.value] for o in words]
    write_run(tmp_path / "out", method="coop", dataset="scale-60", overrides=asked)
    (tmp_path / "docs").mkdir()
    marks = f"<!-- begin {scale_table.PART} -->\n<!-- end {scale_table.PART} -->\n"
    (tmp_path / records.WORLD).write_text("By hand.\n" + marks, encoding="utf-8")
    files = records.more_classes(tmp_path / "out", tmp_path, tmp_path)
    page = str(files[records.WORLD])
    assert page.startswith("By hand.") and "| base / new / HM | 60 base classes |" in page
    plot = files[records.SCALE]
    assert isinstance(plot, bytes) and plot.startswith(b"\x89PNG")


def test_archives_beside_the_first_are_found(tmp_path: Path) -> None:
    (tmp_path / "scale.tar.xz").write_bytes(b"")
    found = records.kept_beside(tmp_path / "records.tar.xz")
    assert found == (tmp_path / "records.tar.xz", None, tmp_path / "scale.tar.xz")
