"""The store, the command line and the page: resumable, refused in one line, honest about gaps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from loreal_plugin.bench import run_cells
from loreal_plugin.bench.cells import Cell
from loreal_plugin.bench.lookup import group
from loreal_plugin.bench.measure_cell import machine_facts
from loreal_plugin.bench.results_file import BenchStore
from loreal_plugin.bench.write_page import parts, skeleton, write_report
from loreal_plugin.cli import main
from loreal_plugin.errors import DataError

ROOT = Path(__file__).parents[2]
WHERE = machine_facts(torch.device("cpu"), 1) | {"load_before": 0.1, "load_after": 0.2}


def record(cell: Cell, **seconds: float) -> dict[str, Any]:
    """Return a record with three equal samples a variant."""
    samples = {
        n.replace("__", ":"): {"wall": [s] * 3, "cpu": [s / 2] * 3} for n, s in seconds.items()
    }
    facts = {"host_parameters": 1000, "loreal_parameters": 166560, "agreement": {}}
    return {"cell": cell.as_dict(), "samples": samples, "facts": facts, "where": WHERE}


def cell(
    kind: str, *variants: str, method: str = "maple", phi: int = 96, c: int = 100, b: int = 1
) -> Cell:
    return Cell(kind, method, phi, c, b, variants)


INFER = cell("infer", "host", "exact:class_first")


def filled(path: Path) -> BenchStore:
    store = BenchStore(path)
    store.add(INFER, record(INFER, host=0.1, exact__class_first=0.3))
    versus = cell("versus-train", "published", "cached:class_first", c=50, b=4)
    made = record(versus, published=8.0, cached__class_first=0.8)
    made["facts"]["agreement"] = {
        "cached:class_first": {"loss_absolute": 1e-6, "gradient_relative": 2e-6}
    }
    store.add(versus, made)
    for variant, peak in (("host", 500.0), ("exact:class_first", 533.0), ("adapted", 500.0)):
        one = cell("memory-infer", variant)
        memory = {variant: {"held_mib": 450.0, "peak_mib": peak, "how": "high-water mark"}}
        store.add(one, {"cell": one.as_dict(), "memory": memory, "facts": {}, "where": WHERE})
    adapted = cell("adapted", "host", "adapted")
    made = record(adapted, host=0.1, adapted=0.102)
    store.add(adapted, made | {"facts": {"adapted_parameters": 3_000_000}})
    image = cell("image", "phi96", "phi224", phi=224, c=10)
    store.add(image, record(image, phi96=0.02, phi224=0.08))
    return store


def test_what_is_there_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []

    def fake(one: Cell, *_args: Any, **_kwargs: Any) -> dict[str, Any]:
        calls.append(one.id)
        return record(one, **{v.replace(":", "__"): 1.0 for v in one.variants})

    monkeypatch.setattr(run_cells, "measure_apart", fake)
    cells, said = [INFER, cell("image", "phi96")], []
    for _ in range(2):
        store = BenchStore(tmp_path / "bench.json")
        run_cells.run_cells(cells, store, ROOT, rounds=1, budget_s=1, say=said.append)
    assert calls == [c.id for c in cells]
    assert said[-1].endswith("there, skipped") and len(said) == 4
    more = [Cell(**{**INFER.__dict__, "variants": (*INFER.variants, "static:class_first")})]
    run_cells.run_cells(
        more, BenchStore(tmp_path / "bench.json"), ROOT, rounds=1, budget_s=1, say=said.append
    )
    assert calls[-1] == INFER.id  # a new variant: measured again, so that ratios are of one run


@pytest.mark.parametrize(
    "change", [{"device": "another"}, {"versions": {"torch": "1.0"}}], ids=["device", "torch"]
)
def test_another_machine_or_torch_is_measured_again(tmp_path: Path, change: dict[str, Any]):
    store = filled(tmp_path / "bench.json")
    assert store.has(INFER, WHERE)
    assert not store.has(INFER, WHERE | change)


def test_a_failed_cell_is_kept_as_such_and_tried_again(tmp_path: Path):
    store = BenchStore(tmp_path / "bench.json")
    store.add(INFER, {"cell": INFER.as_dict(), "error": "killed"})
    assert not store.has(INFER, WHERE)
    store.add(INFER, record(INFER, host=1.0, exact__class_first=1.0))
    store.add(INFER, {"cell": INFER.as_dict(), "error": "killed"})
    assert BenchStore(store.path).has(INFER, WHERE)


@pytest.mark.parametrize("content", ["{", '{"schema_version": 7, "cells": {}}', "[]"])
def test_a_file_that_is_not_ours_is_refused_and_left_alone(tmp_path: Path, content: str):
    path = tmp_path / "bench.json"
    path.write_text(content)
    with pytest.raises(DataError, match="no file of bench results"):
        BenchStore(path)
    assert path.read_text() == content


def test_tables_have_ratios_and_say_what_is_missing(tmp_path: Path):
    found = parts(filled(tmp_path / "bench.json"), tmp_path / "page.md")
    assert (
        "| MaPLe | step, C=50, B=4, cached | `class_first` | - | 1000 (1000 to 1000) | 100 (100 to"
        " 100) | 10 " in (found["versus"])
    )
    assert "| 8 x |" in found["versus"] and "loss absolute 1e-06" in found["versus"]
    assert (
        "| MaPLe | 96 | 100 | 1 | `exact` | 50 (50 to 50) | 150 (150 to 150) | 3 (3 to 3) |"
        in found["modes"]
    )
    assert (
        "| MaPLe | 96 | 1 | 3,000,000 | 50 (50 to 50) | 51 (51 to 51) | 1.02 (1.02 to 1.02) | 500 |"
        " +0 |" in found["adapted"]
    )
    assert "+166,560" in found["efficiency"] and "not measured" in found["efficiency"]
    assert "107, 32, 612" in found["efficiency"]
    assert "| 75 % |" in found["phi"] and "| +33 |" in found["memory"]
    assert found["other"] == "not measured"


def test_the_page_is_filled_between_its_marks_and_drawn(tmp_path: Path):
    page = tmp_path / "docs" / "PAGE.md"
    page.parent.mkdir()
    page.write_text("Written by hand.\n" + skeleton())
    written = write_report(filled(tmp_path / "bench.json"), page)
    text = page.read_text()
    assert text.startswith("Written by hand.") and "| +33 |" in text
    plots = [path for path in written if path.suffix == ".svg"]
    assert {path.name.split("-")[0] for path in plots} == {"phi", "versus"}
    assert all(path.stat().st_size < 100_000 and b"<svg" in path.read_bytes() for path in plots)
    again = [path.read_bytes() for path in plots]
    write_report(BenchStore(tmp_path / "bench.json"), page)
    assert [path.read_bytes() for path in plots] == again and page.read_text() == text


def test_the_shipped_page_is_what_its_results_give():
    store, page = (
        BenchStore(ROOT / "results" / "benchmarks" / "results.json"),
        ROOT / "results" / "BENCHMARKS.md",
    )
    text = page.read_text(encoding="utf-8")
    for name, content in parts(store, page).items():
        assert f"<!-- begin {name} -->\n{content.strip()}\n<!-- end {name} -->" in text, name
    assert group(store)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--size", "huge"], "unknown size 'huge'"),
        (["--methods", "mapel"], "did you mean 'maple'"),
        (["--methods", "cocoop"], "its own prompts depend on the image"),
        (["--phi", "100"], "--phi 100 does not fit"),
        (["--cells", "nothing*"], "fits none of"),
        (["--rounds", "0"], "--rounds must be positive"),
        (["--precision", "amp", "--device", "cpu"], "CUDA only"),
        (["--host", "nowhere", "--size", "tiny"], "HOST 'nowhere' is no folder"),
        (["--report", "page.md"], "has no measurement"),
    ],
)
def test_wrong_input_is_refused_in_one_line(
    words: list[str], reason: str, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *words, "--out", str(tmp_path / "b.json")]) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_list_prints_cells_and_measures_nothing(tmp_path: Path, capsys):
    out = tmp_path / "b.json"
    assert (
        main(
            ["bench", "--list", "--device", "cpu", "--cells", "*/maple/phi96/*", "--out", str(out)]
        )
        == 0
    )
    printed = capsys.readouterr().out.splitlines()
    assert "versus-infer/vit_b16/cpu/t1/fp32/maple/phi96/C100/B1" in printed
    assert all("/maple/phi96/" in line for line in printed) and not out.exists()


def test_a_cell_runs_in_a_process_of_its_own(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "b.json"
    words = [
        "--size",
        "tiny",
        "--methods",
        "coop",
        "--device",
        "cpu",
        "--rounds",
        "1",
        "--budget",
        "0.1",
    ]
    assert main(["bench", *words, "--cells", "image/*/B1", "--out", str(out)]) == 0
    assert "phi32" in capsys.readouterr().out
    (found,) = json.loads(out.read_text())["cells"].values()
    assert len(found["samples"]["phi32"]["wall"]) == 1 and found["where"]["cores"] > 0


def test_a_cell_that_dies_is_reported_and_fails_the_command(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run_cells.sys, "executable", "/bin/false")
    out = tmp_path / "b.json"
    words = ["--size", "tiny", "--methods", "coop", "--device", "cpu", "--cells", "image/*/B1"]
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path / "cache"))
    assert main(["bench", *words, "--out", str(out)]) == 1
    assert "FAILED, exit code 1" in capsys.readouterr().out
    assert "error" in next(iter(json.loads(out.read_text())["cells"].values()))
