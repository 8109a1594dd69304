"""The rehearsal of the plan `paper`: its world, its tiny plan, a dry run of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from helpers import random_clip_file
from miniatures import MINIATURES

from benchmarks import paper_rehearsal
from loreal_plugin.cli.main import main
from loreal_plugin.download.table import datasets
from loreal_plugin.sweep.plan_file import read_plan
from loreal_plugin.sweep.planned_runs import Locations, expand


def tiny(folder: Path, *words: str) -> tuple[Path, dict]:
    """Write the tiny plan of some arguments; return its file and content."""
    args = paper_rehearsal.parse([str(folder), *words])
    plan = yaml.safe_load(paper_rehearsal.PLAN.read_text())
    content = paper_rehearsal.tiny_plan(plan, folder / "w.pt", args)
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path, content


def test_the_tiny_plan_has_every_dataset_and_preset_of_the_paper(tmp_path: Path) -> None:
    path, _ = tiny(tmp_path)
    runs = expand(read_plan(path), Locations(tmp_path / "out", data=str(tmp_path)))
    whole = expand(read_plan("paper"), Locations(tmp_path / "out", data=str(tmp_path)))
    at_96 = {(r.protocol, r.spec.method, r.spec.dataset) for r in whole if r.spec.phi == 96}
    assert {(r.protocol, r.spec.method, r.spec.dataset) for r in runs} == at_96
    values = [dict.fromkeys(run.words[run.words.index("--") + 1 :]) for run in runs]
    assert all("TRAINER.LOREAL.PRESET" in words and "paper" in words for words in values)
    assert {run.spec.seed for run in runs} == {1} and {run.spec.shots for run in runs} == {1, 2}


@pytest.mark.parametrize("layout", ["DescribableTextures", "OxfordFlowers", "FGVCAircraft"])
def test_a_dry_run_finds_the_miniatures_of_each_kind_of_layout(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Folders alone, lists in `.mat` and `.json`, three published parts."""
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path / "cache"))
    name = MINIATURES[layout].__name__
    MINIATURES[layout](tmp_path / "data")
    random_clip_file(tmp_path, "w.pt")
    words = ("--methods", "coop", "--protocols", "base2new", "--datasets", name)
    path, _ = tiny(tmp_path, *words)
    data, out = str(tmp_path / "data"), str(tmp_path / "out")
    assert main(["sweep", str(path), "--data", data, "--out", out, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "1 of 1 dataset there" in said and f"coop 96 {name} 1" in said
    (command,) = [line for line in said.splitlines() if " loreal base2new" in line]
    run = command[command.index("loreal ") + len("loreal ") :].split()
    assert main([run[0], "coop", "32", *run[3:5], "--dry-run", *run[5:]]) == 0, (
        "the run could start"
    )


def test_there_is_a_miniature_of_every_public_dataset() -> None:
    assert {write.__name__ for write in MINIATURES.values()} == set(datasets())
