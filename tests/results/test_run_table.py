"""The table of a run, its sentences, and the tables over many runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_runs import facts

from loreal_plugin.errors import LorealError
from loreal_plugin.files import replace_between, write_json
from loreal_plugin.results import row_fields
from loreal_plugin.results.markdown import to_markdown
from loreal_plugin.results.published import published_note
from loreal_plugin.results.record import RESULTS, SCHEMA_VERSION
from loreal_plugin.results.report import build_report
from loreal_plugin.results.row_fields import RowField
from loreal_plugin.results.run import run_of
from loreal_plugin.results.run_plot import save_plot
from loreal_plugin.results.run_table import format_run, sentences
from loreal_plugin.results.seed_tables import format_seed_tables, read_runs
from loreal_plugin.results.statistics import mean_std


def row(name: str, hm: float) -> dict[str, Any]:
    score = {"accuracy": hm, "correct": 1, "total": 2}
    return {
        "name": name,
        "label": f"row {name}",
        "base": score,
        "new": score,
        "hm": hm,
        "parameters": 1234,
        "seconds": 9.87,
        "picture_ms": 2.54,
        "tokens": 37,
    }


def record(seed: int = 1, method: str = "maple", shift: float = 0.0) -> dict[str, Any]:
    base = facts(method, 96, seed)
    hms = {"native": 80.0, "native_at_phi": 50.0, "phi": 60.0 + shift, "loreal": 70.0 + shift}
    rows = [row(name, hm) for name, hm in hms.items()]
    return base | {
        "schema_version": SCHEMA_VERSION,
        "key": f"k{seed}",
        "method": method,
        "dataset": "demo",
        "phi": 96,
        "seed": seed,
        "shots": 16,
        "native_size": 224,
        "weights": {"name": "demo"},
        "rows": rows,
        "kind": "stage",
        "label": "demo",
        "overrides": [],
        "trainer": "MaPLe",
        "recipe": "demo",
        "device": "cpu",
        "threads": 2,
        "git_revision": "abc",
        "versions": {"torch": "2"},
    }


def test_table_shows_every_row_and_marks_what_comes_on_top() -> None:
    lines = format_run(record()).splitlines()
    found = next(line for line in lines if line.startswith("row loreal"))
    assert found.split()[-6:] == ["70.00", "70.00", "+1,234", "+9.9", "37", "2.5"]
    assert next(line for line in lines if line.startswith("row native ")).split()[-4:] == [
        "1,234",
        "9.9",
        "37",
        "2.5",
    ]


def test_every_table_shows_what_the_list_of_fields_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = (*row_fields.ROW_FIELDS, RowField("memory", "training MB"))
    monkeypatch.setattr(row_fields, "ROW_FIELDS", more)
    known, older = record(1), record(2)
    for found in known["rows"]:
        found["memory"] = 345.4
    line = next(x for x in format_run(known).splitlines() if x.startswith("row loreal"))
    assert line.split()[-5:] == ["+1,234", "+9.9", "37", "2.5", "+345"]
    line = next(x for x in format_run(older).splitlines() if x.startswith("row loreal"))
    assert line.split()[-1] == "-"
    home = tmp_path / "base2new" / "train_base" / "demo" / "MaPLe_LOREAL" / "phi96"
    facts = {"host": {}, "config": {}, "weights": {"name": "demo", "sha256": "0"}}
    for seed, found in ((1, known), (2, older)):
        write_json(home / "demo" / f"seed{seed}" / RESULTS, found | facts)
    for text in (format_seed_tables(read_runs(tmp_path)), to_markdown(build_report(tmp_path))):
        assert "| training MB |" in text and "| +345 |" in text, "mean of the seeds that know it"


def test_sentences_are_signed_both_ways() -> None:
    gain = " ".join(sentences(run_of(record())))
    assert "by -30.00 points" in gain and "too by -20.00" in gain
    assert "LOREAL changes HM by +10.00 points" in gain
    worse = record()
    worse["rows"][3]["hm"] = 55.0
    assert "LOREAL changes HM by -5.00 points" in " ".join(sentences(run_of(worse)))


def test_published_numbers_only_where_they_compare() -> None:
    real = ("maple", 96, "caltech101", "vit_b16")
    assert "57.25" in published_note(*real, "ViT-B/16")
    assert "57.25" in published_note(*real, "/weights/ViT-B-16.pt")
    assert published_note(*real, "/weights/random.pt") == ""
    assert published_note("maple", 96, "demo", "demo", "demo") == ""
    assert published_note("maple", 144, "caltech101", "vit_b16", "ViT-B/16") == ""
    assert published_note("maple", 96, "caltech101", "demo", "ViT-B/16") == ""


def test_plot_is_a_picture(tmp_path: Path) -> None:
    save_plot(record(), tmp_path / "table.png")
    assert (tmp_path / "table.png").read_bytes()[:4] == b"\x89PNG"


def test_report_takes_finished_runs_only_and_averages_over_seeds(tmp_path: Path) -> None:
    home = tmp_path / "base2new" / "train_base" / "demo" / "MaPLe_LOREAL" / "phi96"
    for seed, shift in ((1, 0.0), (2, 2.0)):
        write_json(home / "demo" / f"seed{seed}" / RESULTS, record(seed, shift=shift))
    write_json(home / "demo.replaced" / "k" / "seed3" / RESULTS, record(3, shift=50.0))
    write_json(home / "demo" / "seed4" / RESULTS, record(4) | {"rows": []})
    text = format_seed_tables(read_runs(tmp_path))
    assert "### demo, phi 96, weights demo, configuration `demo`" in text
    line = next(line for line in text.splitlines() if "row loreal" in line)
    assert "71.00 ± 1.41" in line and line.endswith("| 2 |")


def test_runs_of_other_shots_or_of_another_host_are_no_seeds(tmp_path: Path) -> None:
    home = tmp_path / "base2new" / "train_base" / "demo"
    another = {"host": {"name": "maple-main"}}
    runs: tuple[dict[str, Any], ...] = (
        record(1),
        record(2, shift=1.0) | another,
        record(3, shift=2.0) | {"shots": 4},
    )
    for found in runs:
        folder = home / f"shots_{found['shots']}" / "MaPLe_LOREAL" / "phi96" / "demo"
        write_json(folder / f"seed{found['seed']}" / RESULTS, found)
    lines = format_seed_tables(read_runs(tmp_path)).splitlines()
    assert [line for line in lines if line.startswith("### ")] == [
        "### demo, phi 96, 4 shots, weights demo, configuration `demo`",
        "### demo, phi 96, 16 shots, weights demo, configuration `demo`",
        "### demo, phi 96, 16 shots, weights demo, host maple-main, configuration `demo`",
    ]
    averaged = [line.split("|")[3].strip() for line in lines if "row loreal" in line]
    assert averaged == ["72.00", "70.00", "71.00"]


def test_report_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LorealError, match="no finished run below"):
        read_runs(tmp_path)


def test_mean_of_one_value_has_no_deviation() -> None:
    assert mean_std([1.0]) == "1.00" and mean_std([1.0, 3.0]) == "2.00 ± 1.41"


def test_a_document_part_is_replaced_and_the_rest_kept() -> None:
    text = "a\n<!-- begin T -->\nold\n<!-- end T -->\nb"
    assert replace_between(text, "T", "new") == "a\n<!-- begin T -->\nnew\n<!-- end T -->\nb"
    with pytest.raises(LorealError, match="once each"):
        replace_between("nothing", "T", "new")


def test_a_table_without_the_host_at_phi_says_what_its_rows_tell() -> None:
    early = record()
    early["rows"] = early["rows"][:2]
    said = format_run(early).splitlines()[-1]
    assert said == "Testing at 96 instead of 224 changes HM by -30.00 points."
