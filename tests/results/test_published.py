"""The paper's numbers beside measured ones: only where they compare, and in what they do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import TOTAL, write_run, write_targets

from loreal_plugin.download.table import datasets
from loreal_plugin.results import comparable, published_tables
from loreal_plugin.results.markdown import to_markdown
from loreal_plugin.results.reader import collect
from loreal_plugin.results.report import build_report

DOMAINS = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")
REAL = {"recipe": "vit_b16", "weights": {"name": "ViT-B/16", "sha256": "w"}}


def test_published_numbers_say_where_they_do_not_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = tmp_path / "drawn"
    write_run(drawn)
    write_targets(drawn, "xd")
    text = to_markdown(build_report(drawn))
    assert "57.25 (not comparable: demo)" in text and "52.77 (not comparable: demo)" in text
    real = tmp_path / "real"
    for dataset in DOMAINS[:2]:
        write_run(real, dataset=dataset, recipe="vit_b16")
    write_targets(real, "dg", names=DOMAINS, **REAL)
    text = to_markdown(build_report(real))
    assert "57.25 (not comparable: 0 of 11 datasets and others, weights demo" in text
    assert "26.86 (not comparable: other test pictures of 4)" in text
    monkeypatch.setattr(comparable, "PARTS", dict.fromkeys(DOMAINS, comparable.Parts(0, TOTAL)))
    text = to_markdown(build_report(real))
    assert "| 26.86 |" in text, "LR-DG in the paper's own setting stands without a mark"


def test_published_and_measured_stand_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_halves = dict.fromkeys(("dtd", "food101"), comparable.Parts(7, 2 * TOTAL))
    monkeypatch.setattr(comparable, "PARTS", of_halves)
    monkeypatch.setattr(published_tables, "PARTS", of_halves)
    preset = {"overrides": [["loreal", "TRAINER.LOREAL.PRESET", "paper"]]}
    for seed in (1, 2):
        for dataset in of_halves:
            write_run(tmp_path, seed=seed, dataset=dataset, gain=0.1, **REAL, **preset)
    write_run(tmp_path, seed=1, dataset="demo")
    section = next(s for s in build_report(tmp_path).sections if s.title.startswith("Published"))
    ((cells,),) = [table.body for table in section.tables]
    texts = [cell.text for cell in cells]
    assert texts[:3] == ["maple", "PRESET paper", "34.85"] and texts[5] == "57.25"
    hosts = {row: [] for row in ("native_at_phi", "phi", "loreal")}
    for result in collect(tmp_path).results:
        if result.row in hosts and result.setting.dataset != "demo":
            hosts[result.row].append(result.summary)
    means = {row: sum(values) / 4 for row, values in hosts.items()}
    measured = [float(texts[place].split()[0]) for place in (3, 4, 6)]
    assert measured == pytest.approx(list(means.values()), abs=0.006)
    gains = [float(text) for text in texts[8].split(" and ")]
    wanted = [means["loreal"] - means[row] for row in ("native_at_phi", "phi")]
    assert gains == pytest.approx(wanted, abs=0.006) and texts[7] == "+22.40"
    assert texts[9:] == ["2", "no"]
    (note,) = section.tables[0].notes
    assert note == "maple, PRESET paper: not the paper's setting (2 of 11 datasets)."
    (parts,) = section.folds[0].tables
    assert [cell.text for cell in parts.body[0]] == ["dtd", "test", "800", "800", "7"]


def test_parts_are_told_apart_by_their_pictures_as_the_sources_count_them() -> None:
    for name, row in datasets().items():
        assert comparable.PARTS[name] == comparable.Parts(*row.pictures[1:]), name
    assert [comparable.tested_part("dtd", n) for n in (1692, 1128, 1)] == ["test", "val", "neither"]
    assert comparable.tested_part("imagenet", 50000) == comparable.EITHER
    assert comparable.tested_part("demo", 1) == ""
