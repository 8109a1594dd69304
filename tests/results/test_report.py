"""The report: what it reads and refuses, what its tables say, and that a browser shows it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from made_runs import facts, write_rivals, write_run, write_targets, write_zero_shot

from loreal_plugin.cli.main import main
from loreal_plugin.errors import LorealError
from loreal_plugin.files import write_json
from loreal_plugin.results import plots
from loreal_plugin.results.group import Group, group_results
from loreal_plugin.results.html import to_html
from loreal_plugin.results.markdown import to_markdown
from loreal_plugin.results.reader import collect
from loreal_plugin.results.record import RESULTS, SCHEMA_VERSION
from loreal_plugin.results.report import build_report

PICTURES = 8  # of the folder `full`
BROWSERS = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)


def lines_of(text: str, *starts: str) -> list[list[str]]:
    """Return the cells of the table lines whose first cells are these."""
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line[:2] == "| "
    ]
    return [row for row in rows if tuple(cell.strip("*") for cell in row[: len(starts)]) == starts]


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """Give an output folder with runs of every protocol, two seeds."""
    for seed in (1, 2):
        for phi in (96, 144):
            write_run(tmp_path, seed=seed, phi=phi)
            write_targets(tmp_path, "xd", seed=seed, phi=phi)
        write_targets(tmp_path, "dg", seed=seed)
        for shots in (1, 4):
            write_targets(tmp_path, "few_shot", seed=seed, shots=shots, names=())
    write_rivals(tmp_path)
    return tmp_path


def test_every_protocol_has_its_table_and_pictures(full: Path) -> None:
    report = build_report(full)
    by_title = {section.title.split(":")[0]: section for section in report.sections}
    assert list(by_title) == [
        "In short",
        "LR-B2N",
        "LR-CE",
        "LR-DG",
        "Few-shot",
        "Efficiency",
        "Incomplete and failed runs",
    ]
    names = [picture.name for section in report.sections for picture in section.pictures]
    assert names == [
        "base2new_1_phi",
        "base2new_1_gain",
        "base2new_1_cost_rivals",
        "xd_1_phi",
        "xd_1_gain",
        "xd_1_cost_tests",
        "dg_1_cost_tests",
        "few_shot_1",
    ]
    assert all(p.png[:4] == b"\x89PNG" for section in report.sections for p in section.pictures)
    few = next(table for table in by_title["Few-shot"].tables if "shot" in table.head[2])
    assert few.head == ("method", "row", "1 shot", "4 shots", "seeds")


def test_mean_deviation_and_best(full: Path) -> None:
    text = to_markdown(build_report(full))
    line, *_ = lines_of(text, "maple", "+ LOREAL, tested at 96")
    values = [float(value) for value in re.findall(r"\d+\.\d+", line[2])]
    runs = [
        r
        for r in collect(full).results
        if r.row == "loreal" and r.setting.phi == 96 and "base" in r.scores
    ]
    found = [r.scores["base"].accuracy for r in runs]
    assert values[0] == pytest.approx(sum(found) / 2, abs=0.006)
    assert values[1] == pytest.approx(abs(found[0] - found[1]) / 2**0.5, abs=0.006)
    native, *_ = lines_of(text, "maple", "MaPLe, trained and tested at 224")
    upsampled, *_ = lines_of(text, "maple", "MaPLe trained at 224, up-sampled")
    assert "**" not in native[2], "it reads large pictures"
    assert upsampled[2] == "**80.00**" and lines_of(text, "CLIP", "zero-shot")


def test_average_hm_is_the_mean_of_the_datasets_hms(tmp_path: Path) -> None:
    write_run(tmp_path, gain=0.2)
    write_run(tmp_path, dataset="other", drop=0.5)
    table = next(s for s in build_report(tmp_path).sections if s.title.startswith("LR-B2N")).tables[
        0
    ]
    line = next(row for row in table.body if row[1].text.startswith("+ LOREAL"))
    hms = [r.summary for r in collect(tmp_path).results if r.row == "loreal"]
    assert float(line[4].text) == pytest.approx(sum(hms) / 2, abs=0.006) and hms[0] != hms[1]
    base, new = float(line[2].text), float(line[3].text)
    assert abs(2 * base * new / (base + new) - float(line[4].text)) > 0.01


def test_loreal_is_tested_against_each_baseline_on_the_same_pictures(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        write_run(tmp_path, seed=seed, gain=0.1)
    text = to_markdown(build_report(tmp_path))
    (line,) = lines_of(text, "demo", "maple", "maple: MaPLe, trained and tested at 96")
    own = lines_of(text, "maple", "+ LOREAL, tested at 96")[1]
    host = lines_of(text, "maple", "MaPLe, trained and tested at 224")[1]
    kept = 100 * float(own[2].split()[0]) / float(host[2].split()[0])
    assert float(own[3]) == pytest.approx(kept, abs=0.06) and host[3] == "-"
    low, high = map(float, own[4].split(" to "))
    assert low < float(own[2].split()[0]) < high, "each row has its interval over pictures"
    gain, pictures, seeds, p, p_holm, n = line[3:]
    low, high = map(float, pictures.split(" to "))
    assert low < float(gain) < high and low > 0 and p == "< 0.001" and n == "3"
    assert p_holm == "< 0.001" and " to " in seeds


def test_without_answers_by_picture_it_says_how_to_get_them(tmp_path: Path) -> None:
    write_run(tmp_path, with_hits=False)
    text = to_markdown(build_report(tmp_path))
    assert "no answers by picture stored" in text and "base2new_test.sh" in text


def test_runs_that_differ_in_more_than_the_seed_are_not_averaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, seed=1)
    write_run(tmp_path, seed=2, config={"OPTIM.LR": 0.5})
    groups, refusals = group_results(collect(tmp_path).results)
    assert not groups and len(refusals) == 4
    assert main(["report", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "not averaged: base2new, demo, maple, phi 96" in out and "OPTIM.LR (0.02 and 0.5)" in out
    assert "OPTIM.LR (0.02 and 0.5)" in (tmp_path / "report" / "report.md").read_text()


def test_of_two_records_of_one_run_the_one_with_answers_counts(tmp_path: Path) -> None:
    write_run(tmp_path / "new")
    write_run(tmp_path / "old", with_hits=False)
    known, unknown = collect(tmp_path / "new").results, collect(tmp_path / "old").results
    for results in ([*known, *unknown], [*unknown, *known]):
        groups, refusals = group_results(results)
        assert len(groups) == 4 and not refusals
        assert all(score.hits for group in groups for score in group.results[0].scores.values())


def test_only_the_rows_that_rest_on_a_difference_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, seed=1)
    folder = write_run(tmp_path, seed=2)
    record = json.loads((folder / RESULTS).read_text())
    record["config"]["TRAINER.LOREAL.BRIDGE"] = "cross"
    write_json(folder / RESULTS, record)
    groups, refusals = group_results(collect(tmp_path).results)
    assert sorted(g.row for g in groups) == ["native", "native_at_phi", "phi"]
    assert [r.row for r in refusals] == ["loreal"] and "loreal: TRAINER.LOREAL.BRIDGE" in refusals[
        0
    ].reason


def test_two_different_runs_of_one_seed_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, seed=1)
    write_run(tmp_path, seed=1, gain=0.1, label="demo-copy")
    _, refusals = group_results(collect(tmp_path).results)
    assert [r.row for r in refusals] == ["loreal"] and "two runs of seed 1" in refusals[0].reason


@pytest.mark.parametrize(
    "content, said",
    [
        ("{", "is no JSON"),
        ("[]", "is no JSON object"),
        ('{"schema_version": 99}', "has schema version 99, this release reads"),
        ('{"kind": "stage"}', "has schema version None"),
        ('{"schema_version": 1, "kind": "stage"}', "lacks key, method"),
    ],
)
def test_a_file_that_is_no_use_is_listed_and_left_alone(
    tmp_path: Path, content: str, said: str
) -> None:
    write_run(tmp_path)
    broken = tmp_path / "base2new" / "train_base" / "demo" / "x" / RESULTS
    broken.parent.mkdir()
    broken.write_text(content)
    text = to_markdown(build_report(tmp_path))
    assert (
        f"`base2new/train_base/demo/x/results.json` {said}" in text
        and broken.read_text() == content
    )


def test_rows_of_another_form_are_listed(tmp_path: Path) -> None:
    write_run(tmp_path)
    folder = tmp_path / "base2new" / "train_base" / "demo" / "odd" / "demo" / "seed1"
    write_json(folder / RESULTS, facts("maple", 96, 1) | {"rows": [{"name": "phi"}]})
    assert "has rows of another form" in to_markdown(build_report(tmp_path))


def test_unfinished_and_failed_runs_are_listed(tmp_path: Path) -> None:
    write_run(tmp_path)
    write_json(tmp_path / "base2new" / "half" / "started.json", {"key": "k"})
    run = {
        "command": "loreal base2new maple 96",
        "state": "failed",
        "error": "disk full",
        "seconds": 1.0,
    }
    sweep = {
        "schema_version": SCHEMA_VERSION,
        "kind": "sweep",
        "name": "mine",
        "runs": [run],
        "seconds": 60.0,
    }
    write_json(tmp_path / "sweeps" / "mine" / RESULTS, sweep | {"done": 0, "jobs": 2, "failed": 1})
    text = to_markdown(build_report(tmp_path))
    assert "`base2new/half`: started, not finished" in text
    assert "sweep `mine`, `loreal base2new maple 96`: failed: disk full" in text


def test_where_no_run_is_finished_no_device_is_named(tmp_path: Path) -> None:
    (tmp_path / RESULTS).write_text("{")
    text = to_markdown(build_report(tmp_path))
    assert "Finished runs: 0" in text and "Devices:" not in text


def test_what_was_set_aside_does_not_count(tmp_path: Path) -> None:
    write_run(tmp_path)
    write_run(tmp_path, gain=0.3, label="demo.replaced")
    _, refusals = group_results(collect(tmp_path).results)
    assert refusals == []


def test_variants_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    write_run(tmp_path)
    change = [["loreal", "TRAINER.LOREAL.LLD_WEIGHT", "0.0"]]
    write_run(tmp_path, gain=0.05, label="demo-0123abcd", overrides=change)
    section = next(s for s in build_report(tmp_path).sections if s.title == "Variants of LOREAL")
    (row,) = section.tables[0].body
    assert row[1].text == "LLD_WEIGHT 0.0" and float(row[4].text) > 0
    assert float(row[5].text.split(" to ")[0]) > 0 and row[6].text == "< 0.001"
    words = [["loreal", "TRAINER.LOREAL.ATTRIBUTES", str(tmp_path / "words.json")]]
    write_run(tmp_path, gain=0.01, label="demo-4567abcd", overrides=words)
    assert "| ATTRIBUTES words.json |" in to_markdown(build_report(tmp_path))


def test_zero_shot_clip_stands_in_every_table_that_it_has_all_of(tmp_path: Path) -> None:
    write_run(tmp_path, seed=3)
    write_targets(tmp_path, "xd", seed=3)
    write_targets(tmp_path, "few_shot", seed=3, shots=4, names=())
    for dataset in ("demo", "far"):
        write_zero_shot(tmp_path, dataset)
    line = "zero-shot CLIP at 96"
    found = [len(lines_of(to_markdown(build_report(tmp_path)), "CLIP", line))]
    write_zero_shot(tmp_path, "near")
    report = build_report(tmp_path)
    text = to_markdown(report)
    found.append(len(lines_of(text, "CLIP", line)))
    # LR-B2N (accuracies, intervals), few-shot and the costs have it at once, LR-CE (both tables)
    # when its last target was measured
    assert found == [4, 6]
    (against,) = lines_of(text, "demo", "maple", f"CLIP: {line}")[:1]
    assert against[-1] == "1" and " to " in against[4], "compared with the one seed there is"
    own = next(s for s in report.sections if s.title == "Zero-shot CLIP")
    assert [row[0].text for row in own.tables[0].body] == [
        "demo",
        "demo",
        "far",
        "far",
        "near",
        "near",
    ]


def test_a_rival_that_corrects_nothing_stands_where_no_run_says_the_same(tmp_path: Path) -> None:
    write_run(tmp_path)
    write_rivals(tmp_path)
    alone = to_markdown(build_report(tmp_path)).split("## Efficiency")
    write_zero_shot(tmp_path)
    beside = to_markdown(build_report(tmp_path)).split("## Efficiency")
    assert "| CLIP | zero-shot |" in alone[0] and "| CLIP | zero-shot |" not in beside[0]
    for text in (*alone, *beside):
        assert "MaPLe trained at 224, up-sampled |" in text
    assert "| CLIP | zero-shot |" in beside[1], "its cost is told nowhere else"


def test_nothing_to_report_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, said in ((tmp_path, "no results.json below"), (tmp_path / "none", "no folder")):
        assert main(["report", str(folder)]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
    with pytest.raises(LorealError):
        collect(tmp_path)


def test_the_page_needs_no_other_file(full: Path) -> None:
    html = to_html(build_report(full))
    assert html.count("data:image/png;base64,") == PICTURES
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html) and "<script" not in html


def test_text_of_records_cannot_become_markup(tmp_path: Path) -> None:
    write_run(tmp_path, dataset="a<b>&|c")
    report = build_report(tmp_path)
    assert "a<b>" not in to_html(report) and "a&lt;b&gt;&amp;|c" in to_html(report)


def test_a_browser_shows_every_table_and_picture(full: Path, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser found (looked for {', '.join(BROWSERS)}): the page was not opened")
    assert main(["report", str(full), "--out", str(tmp_path / "page")]) == 0
    words = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1300,3000"]
    page = (tmp_path / "page" / "report.html").as_uri()
    shot = tmp_path / "shot.png"
    done = subprocess.run([*words, "--dump-dom", page], capture_output=True, text=True, timeout=240)
    assert done.stdout.count("<figure>") == PICTURES and done.stdout.count("<table>") >= 8, (
        done.stderr[-500:]
    )
    subprocess.run(
        [*words, f"--screenshot={shot}", page], capture_output=True, timeout=240, check=True
    )
    from PIL import Image

    with Image.open(shot) as picture:
        assert (
            picture.size == (1300, 3000)
            and len(set(picture.convert("L").resize((65, 150)).tobytes())) > 20
        )


def test_the_gain_is_drawn_of_equal_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for phi in (96, 144):
        write_run(tmp_path, seed=1, phi=phi)
        write_run(tmp_path, seed=2, phi=phi, gain=0.1)
    groups, _ = group_results(collect(tmp_path).results)
    only_second = [
        Group(g.setting, g.row, g.results[1:]) if g.row == "loreal" and g.setting.phi == 96 else g
        for g in groups
    ]
    drawn: list[dict[int, list[float]]] = []
    line = plots._line
    monkeypatch.setattr(
        plots, "_line", lambda axes, values, **kw: (drawn.append(values), line(axes, values, **kw))
    )
    plots.gain_picture("gain", "", only_second)
    of = {(g.row, g.setting.phi): g.summaries() for g in groups}
    assert drawn[0][96] == [pytest.approx(of["loreal", 96][1] - of["phi", 96][1])]
    assert drawn[0][144] == pytest.approx(
        [a - b for a, b in zip(of["loreal", 144], of["phi", 144], strict=True)]
    )


@pytest.mark.parametrize(("seconds", "expected"), [(None, 5.0), (1.4, 4.5)])
def test_the_time_of_a_test_on_kept_embeddings_has_what_these_took(
    tmp_path: Path, seconds: float | None, expected: float
) -> None:
    folder = write_targets(tmp_path, "xd", names=("far",))
    record = json.loads((folder / RESULTS).read_text())
    for row in record["rows"]:
        # the source took 2 seconds for 400 pictures,
        # the target 0.2 and what is known of the embeddings
        row["targets"]["far"] |= {"kept_embeddings": True, "seconds": 0.2, "kept_seconds": seconds}
    write_json(folder / RESULTS, record)
    groups, _ = group_results(collect(tmp_path).results)
    assert [group.test_milliseconds() for group in groups] == [[pytest.approx(expected)]] * 4


def test_pictures_of_one_s_own_have_their_accuracy_and_cost(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_targets(tmp_path, "fit", seed=seed, names=())
    text = to_markdown(build_report(tmp_path))
    (row,) = lines_of(text, "maple", "+ LOREAL, tested at 96")[:1]
    assert re.fullmatch(r"\**\d\d\.\d\d ± \d\.\d\d\**", row[2])
    assert "training s" in text, "what it cost"
