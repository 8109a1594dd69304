"""What a dry run says of public datasets, disk and GPU hours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from miniatures import MINIATURES

from loreal_plugin.bench.cells import Cell
from loreal_plugin.bench.lookup import group
from loreal_plugin.bench.results_file import BenchStore
from loreal_plugin.bench.run_hours import BenchTimes, Counted, recipe_facts
from loreal_plugin.cli.main import main
from loreal_plugin.files import write_json
from loreal_plugin.sweep.estimate import estimate
from loreal_plugin.sweep.plan_file import read_plan
from loreal_plugin.sweep.planned_runs import Locations, Run, expand

PAPER = {"variants": {"paper": {"TRAINER.LOREAL.PRESET": "paper"}}}
PLAN = {
    "methods": ["maple"],
    "weights": "ViT-B/16",
    "recipes": "vit_b16",
    "seeds": [1, 2],
    "phis": [96],
    "runs": [
        {"datasets": ["dtd", "eurosat"], "protocols": ["base2new"]},
        {"datasets": ["imagenet"], "protocols": ["dg"]},
    ],
}
DOMAINS = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")
MS = {
    ("train", 224, "host"): 80.0,
    ("train", 96, "host"): 40.0,
    ("train", 96, "uncached:class_first"): 30.0,
    ("infer", 224, "host"): 5.0,
    ("infer", 96, "host"): 2.0,
    ("infer", 96, "exact:class_first"): 10.0,
}


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(PLAN | PAPER))
    return path


def bench_file(path: Path, device: str = "cuda") -> Path:
    """Write a record of `loreal bench`: made-up milliseconds a sample, 50 or 100 classes."""
    cells: dict[str, object] = {}
    for (kind, phi, variant), ms in MS.items():
        batch, classes = (4, 50) if kind == "train" else (1, 100)
        cell = Cell(kind, "maple", phi, classes, batch, (variant,), device=device)
        seconds = [ms * batch / 1000] * 3
        cells[f"{cell.id}/{variant}"] = {
            "cell": cell.as_dict(),
            "samples": {variant: {"wall": seconds, "cpu": seconds}},
            "where": {"device": "a GPU"},
        }
    write_json(path, {"schema_version": 1, "cells": cells})
    return path


def runs_of(plan: Path, data: Path) -> list[Run]:
    return expand(read_plan(plan), Locations(plan.parent / "out", data=str(data)))


def test_a_dry_run_says_what_is_there_and_what_gets_the_rest(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    MINIATURES["DescribableTextures"](data)
    MINIATURES["ImageNet"](data)
    before = sorted(data.rglob("*"))
    words = ["sweep", str(plan), "--data", str(data), "--out", str(out), "--dry-run"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "2 of 7 datasets there" in said
    assert "there: dtd (no split file: one would be drawn), imagenet\n" in said
    assert f"0.10 GB  loreal data get eurosat --data {data}" in said
    assert "11.8 GB of 5 datasets" in said, "what is published of those that are missing"
    assert f"GPU hours: not known; measure a step on your device first: {MEASURES} {out}" in said
    assert said.count("loreal base2new") == 4 and "weights ViT-B/16: " in said
    assert sorted(data.rglob("*")) == before and not out.exists(), "nothing is drawn or written"


MEASURES = "loreal bench --device cuda --out"


def test_hours_are_steps_times_what_a_step_took_at_most(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results,) = group(BenchStore(bench_file(tmp_path / "bench.json")))
    counted = {"dtd": Counted(47, 1692), "imagenet": Counted(1000, 50000)}
    counted |= {name: Counted(1000, 10000) for name in DOMAINS}
    times, runs = BenchTimes(results, counted), runs_of(plan, tmp_path)
    run = runs[0]
    assert (run.spec.dataset, recipe_facts(run, "alpha")) == ("dtd", {"epochs": 5, "batch": 4})
    # 24 base classes, 16 shots, batches of 4, 5 epochs; no more classes and pictures than measured
    steps = 5 * (24 * 16 // 4)
    wanted = {
        "alpha": steps * 4 * 0.080,
        "beta": steps * 4 * 0.040,
        "loreal": steps * 4 * 0.030,
        "native tests": 1692 * 0.005,
        "host tests": 2 * 1692 * 0.002,
        "test": 1692 * 0.010,
    }
    assert {name: times.seconds(run, name)[0] for name in wanted} == pytest.approx(wanted)
    (far,) = [r for r in runs if r.protocol == "dg" and r.spec.seed == 1]
    tested = 50000 + 4 * 10000
    assert times.seconds(far, "alpha")[0] == pytest.approx(5 * 4000 * 0.32 * 1000 / 50)
    assert times.seconds(far, "test")[0] == pytest.approx(tested * 0.010 * 10)
    unknown = next(r for r in runs if r.spec.dataset == "eurosat")
    assert times.seconds(unknown, "alpha") == (None, True)
    assert estimate([run], None, times=times)[0].seconds == pytest.approx(sum(wanted.values()))

    words = ["sweep", str(plan), "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*words, "--dry-run", "--bench", str(tmp_path / "bench.json")]) == 0
    said = capsys.readouterr().out
    hours = 2 * sum(wanted.values()) / 3600
    line = next(x for x in said.splitlines() if "base2new phi 96" in x and "dtd eurosat" in x)
    assert float(line.split()[0]) > hours, "eurosat counts, too"
    assert "hours of one GPU at most" in said and "(a GPU)" in said


def test_a_record_of_a_processor_tells_no_gpu_hours(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = bench_file(tmp_path / "bench.json", device="cpu")
    words = ["sweep", str(plan), "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*words, "--dry-run", "--bench", str(bench)]) == 0
    assert "GPU hours: not known" in capsys.readouterr().out


def test_many_runs_are_told_by_kind_and_a_plan_of_drawn_worlds_needs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "many.yaml"
    many = {"methods": ["coop", "maple"], "phis": [96, 144], "seeds": list(range(1, 13))}
    path.write_text(json.dumps(many))
    words = ["sweep", str(path), "--out", str(tmp_path / "out"), "--dry-run"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "  24 runs: base2new phi 96, coop maple, demo, seeds 1 2 3" in said
    assert said.count("loreal base2new") == 2 and "--commands" in said
    assert "datasets there" not in said and "GPU hours" not in said
    assert main([*words, "--commands"]) == 0
    assert capsys.readouterr().out.count("loreal base2new") == 48
    assert main([*words[:-1], "--commands"]) == 2
    assert "belong to --dry-run" in capsys.readouterr().err
