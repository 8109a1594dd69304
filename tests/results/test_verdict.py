"""The first lines of a report say what is given back; what is rarely read is folded."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_runs import RATES, write_rivals, write_run, write_targets

from loreal_plugin.cli.main import main
from loreal_plugin.files import write_json
from loreal_plugin.results.answers import pack_labels, score_facts
from loreal_plugin.results.group import group_results
from loreal_plugin.results.html import to_html
from loreal_plugin.results.layout import blocks_of
from loreal_plugin.results.markdown import to_markdown
from loreal_plugin.results.protocols import PROTOCOLS
from loreal_plugin.results.reader import collect
from loreal_plugin.results.record import RESULTS
from loreal_plugin.results.report import build_report
from loreal_plugin.results.verdict import _together, block_verdicts, verdict_lines


def verdicts(out: Path) -> list[str]:
    groups, _ = group_results(collect(out).results)
    return verdict_lines({name: blocks_of(groups, name) for name in PROTOCOLS})[0]


def change(folder: Path, **of_rows: dict[str, Any]) -> None:
    """Add fields to the rows of a record."""
    record = json.loads((folder / RESULTS).read_text())
    for row in record["rows"]:
        row |= of_rows.get(row["name"], {})
    write_json(folder / RESULTS, record)


def test_the_verdict_has_the_points_and_the_price(tmp_path: Path) -> None:
    folder = write_run(tmp_path, gain=0.1)
    hms = {row["name"]: row["hm"] for row in json.loads((folder / RESULTS).read_text())["rows"]}
    lost, given = hms["native"] - hms["phi"], hms["loreal"] - hms["phi"]
    (line,) = verdicts(tmp_path)
    assert line.startswith(
        f"At 96 (demo), LOREAL gives MaPLe back {given:.1f} of the {lost:.1f} points of HM lost"
    )
    assert "ms" not in line, "nothing was timed"
    times = {"native": 9.0, "native_at_phi": 2.0, "phi": 2.0}
    for ours, said in (
        (2.1, "costs next to nothing at test (2.1 ms"),
        (3.0, "a picture takes 3.0 ms"),
    ):
        rows = {**times, "loreal": ours}
        change(folder, **{name: {"picture_ms": ms} for name, ms in rows.items()})
        (line,) = verdicts(tmp_path)
        assert said in line and "the host 2.0; 9.0 at the native size" in line


def test_pages_of_results_open_with_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, gain=0.1)
    assert main(["results", str(tmp_path)]) == 0
    first, empty, head = capsys.readouterr().out.splitlines()[:3]
    assert (first, empty) == (f"- {verdicts(tmp_path)[0]}", "") and head.startswith("### demo")


def test_what_the_pictures_cannot_tell_is_said(tmp_path: Path) -> None:
    write_run(tmp_path, gain=-0.03)
    (line,) = verdicts(tmp_path)
    assert "(these test pictures cannot tell that from no change)" in line
    write_run(tmp_path, gain=-0.2)
    (line,) = verdicts(tmp_path)
    assert "LOREAL gives MaPLe nothing back (-" in line and "cannot tell" not in line


def test_rivals_are_folded_and_the_best_is_named(tmp_path: Path) -> None:
    write_run(tmp_path)
    change(write_rivals(tmp_path), **{"MaPLe trained at 224, up-sampled": {"picture_ms": 7.0}})
    section = to_markdown(build_report(tmp_path)).split("## LR-B2N")[1]
    main, folded = section.split("<details><summary>With rivals")
    assert "| MaPLe trained at 224, up-sampled |" in folded and "| CLIP |" not in main
    best = "Of 2 rivals (folded below) the best is maple: MaPLe trained at 224, up-sampled, 78.99 %"
    assert f"{best} at 7.0 ms a picture." in main
    alone = tmp_path / "alone"
    write_rivals(alone)
    assert "With rivals" not in to_markdown(build_report(alone)), "there is nothing else to show"


def test_several_protocols_are_named_and_the_largest_gain_comes_first(tmp_path: Path) -> None:
    write_run(tmp_path, phi=144)
    write_run(tmp_path, phi=96, gain=0.1)
    write_targets(tmp_path, "xd")
    found = verdicts(tmp_path)
    heads = [line.split(" (")[0] for line in found]
    assert heads == ["LR-B2N: At 96", "LR-B2N: At 144", "LR-CE: At 96"]


def test_the_losses_of_three_hosts_are_told_by_their_ends(tmp_path: Path) -> None:
    write_run(tmp_path, gain=0.1)
    groups, _ = group_results(collect(tmp_path).results)
    (one,) = block_verdicts(blocks_of(groups, "base2new")[0])
    three = [replace(one, host=name, lost=lost) for name, lost in (("A", 3.0), ("B", 1), ("C", 2))]
    assert " of the 1.0 to 3.0 points of HM lost" in _together(three)
    assert " of the 3.0 points of HM lost" in _together([three[0], replace(three[0], host="B")])


def test_hosts_share_a_sentence_and_stand_alone_in_a_fold(tmp_path: Path) -> None:
    write_run(tmp_path, gain=0.1)
    write_run(tmp_path, method="coop", gain=0.05)
    (line,) = verdicts(tmp_path)
    groups, _ = group_results(collect(tmp_path).results)
    of = {(g.setting.method, g.row): g.summaries()[0] for g in groups}
    coop, maple = (of[m, "loreal"] - of[m, "phi"] for m in ("coop", "maple"))
    assert f"gives 2 hosts back {coop:.1f} (CoOp) to {maple:.1f} (MaPLe) of the " in line
    text = to_markdown(build_report(tmp_path))
    assert text.splitlines()[2] == line
    assert f"- At 96 (demo), LOREAL gives CoOp back {coop:.1f} of the" in text
    for shots in (1, 4):
        write_targets(tmp_path, "few_shot", shots=shots, names=())
    write_targets(tmp_path, "xd", phi=144)
    write_targets(tmp_path, "xd")
    found = verdicts(tmp_path)
    assert len(found) == 3, "no more than three, whatever was run"


def test_runs_of_other_weights_do_not_share_a_sentence(tmp_path: Path) -> None:
    weights = {"name": "ViT-B/16", "sha256": "v"}
    write_run(tmp_path, method="coop", gain=0.05)
    write_run(tmp_path, method="coop", gain=0.1, label="demo-1", weights=weights)
    first, second = verdicts(tmp_path)
    assert first.startswith("At 96 (demo, weights ViT-B/16), LOREAL gives CoOp back")
    assert second.startswith("At 96 (demo, weights demo), LOREAL gives CoOp back")


def test_the_setting_of_most_results_comes_first_then_that_of_most_hosts(tmp_path: Path) -> None:
    for method in ("coop", "maple"):
        write_run(tmp_path, method=method)
    write_run(tmp_path, phi=144, gain=0.1)
    other = {"name": "demo-2", "sha256": "v"}
    write_run(tmp_path, label="demo-2", weights=other, gain=0.3)
    heads = [line.split(" of the ")[0] for line in verdicts(tmp_path)]
    assert heads[0].startswith("At 96 (demo, weights demo), LOREAL gives 2 hosts back")
    assert heads[1].startswith("At 144 (demo, weights demo), LOREAL gives MaPLe back")
    assert heads[2].startswith("At 96 (demo, weights demo-2), LOREAL gives MaPLe back")


def test_targets_that_a_run_named_come_after_those_of_its_source(tmp_path: Path) -> None:
    write_targets(tmp_path, "xd", names=PROTOCOLS["xd"].known_targets["demo"])
    (usual,) = verdicts(tmp_path)
    folder = write_targets(tmp_path, "xd", seed=2)
    change(folder, loreal={"average": 99.0})
    first, named = verdicts(tmp_path)
    assert first == usual and named.startswith("At 96 (demo, targets far near), LOREAL gives MaPLe")


def test_a_host_that_gets_nothing_back_has_a_sentence_of_its_own(tmp_path: Path) -> None:
    for method, gain in (("coop", -0.2), ("maple", 0.1), ("mma", -0.03)):
        folder = write_run(tmp_path, method=method, gain=gain)
        times = {"native": 9.0, "native_at_phi": 2.0, "phi": 2.0, "loreal": 2.18}
        change(folder, **{name: {"picture_ms": ms} for name, ms in times.items()})
    shared, coop = verdicts(tmp_path)
    assert "LOREAL gives 2 hosts back " in shared and "(MultiModalAdapter) to" in shared
    assert (
        " (for MultiModalAdapter, these test pictures cannot tell that from no change); costs next"
        in shared
    )
    assert shared.endswith("to nothing at test (at most 1.09 times the host's time).")
    assert "LOREAL gives CoOp nothing back (-" in coop
    change(folder, loreal={"picture_ms": None})
    assert "times" not in verdicts(tmp_path)[0], "the price of one host is not that of all"


def test_a_mean_goes_over_the_datasets_that_every_row_has(tmp_path: Path) -> None:
    write_run(tmp_path, gain=0.1)
    (alone,) = verdicts(tmp_path)
    folder = write_run(tmp_path, gain=0.1, dataset="pets", drop=0.3)
    record = json.loads((folder / RESULTS).read_text())
    write_json(folder / RESULTS, record | {"rows": record["rows"][:3]})
    assert verdicts(tmp_path) == [alone], "LOREAL's row of the second is not there yet"


def test_the_page_opens_with_the_verdict_and_folds_the_statistics(tmp_path: Path) -> None:
    labels = [0, 0, 0, 1, 1, 2]
    called = [0, 1, 1, 1, 1, 2]
    folder = write_run(tmp_path)
    scores = {half: score_facts(labels, called) for half in ("base", "new")}
    change(folder, **dict.fromkeys(RATES, scores))
    record = json.loads((folder / RESULTS).read_text())
    names = {"classnames": ["cat", "dog", "fox"], "labels": pack_labels(labels)}
    write_json(folder / RESULTS, record | {"test_sets": {"base": names, "new": names}})
    report = build_report(tmp_path)
    text = to_markdown(report)
    assert text.splitlines()[2].startswith("At 96 (demo), ")
    section = text.split("## LR-B2N")[1].split("\n## ")[0]
    order = [section.index(word) for word in ("**demo, phi 96", "<details>", "p (Holm)")]
    assert order == sorted(order), "tables come before what is folded"
    assert section.count("<details>") == section.count("</details>") == 3
    assert "cat is called dog (2 of 3)" in section and "| cat | 33 |" in section
    html = to_html(report)
    verdict = html.index("At 96 (demo), ")
    assert verdict < html.index("<nav>") < html.index("<table>") < html.index("p (Holm)")


@pytest.mark.parametrize("width", [400, 1200])
def test_a_page_is_no_wider_than_its_window(tmp_path: Path, width: int) -> None:
    page = to_html(build_report(_several(tmp_path)))
    assert re.search(r'data-head="p \(Holm\)"', page), "narrow pages name each number's column"
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    with sync_api.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(args=["--no-sandbox"], executable_path=_browser())
        except sync_api.Error as error:
            pytest.skip(f"no browser: {str(error).splitlines()[0]}")
        view = browser.new_page(viewport={"width": width, "height": 800})
        view.goto((tmp_path / "report.html").as_uri())
        view.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert view.evaluate("document.documentElement.scrollWidth") == width
        cut = "[...document.querySelectorAll('td')].filter(c => c.getBoundingClientRect().right"
        if width < 640:
            assert view.evaluate(f"{cut} > {width}).length") == 0, "cells are cut off"
        browser.close()


def _several(out: Path) -> Path:
    for method in ("maple", "coop"):
        write_run(out, method=method)
    write_targets(out, "xd")
    return out


def _browser() -> str | None:
    return shutil.which("chromium") or shutil.which("google-chrome")
