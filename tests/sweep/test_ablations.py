"""The ablation page and the advice: what they say of written records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from made_runs import write_rivals, write_run, write_targets

from loreal_plugin.cli.main import main
from loreal_plugin.files import write_json
from loreal_plugin.results.advise import front
from loreal_plugin.results.choices import choice_of
from loreal_plugin.results.comparisons import compare
from loreal_plugin.results.group import group_results
from loreal_plugin.results.reader import collect
from loreal_plugin.results.record import RESULTS
from loreal_plugin.sweep.ablations import decided, variant_groups

CHANGE = ["loreal", "TRAINER.LOREAL.LLD_WEIGHT", "0.0"]
PLAN = {
    "name": "mine",
    "title": "My ablations",
    "methods": ["maple"],
    "datasets": ["demo"],
    "phis": [96],
    "factors": [
        {
            "name": "losses",
            "question": "What does LLD give?",
            "variants": {
                "both": {},
                "no LLD": {"TRAINER.LOREAL.LLD_WEIGHT": 0.0},
                "no image": {"TRAINER.LOREAL.CONSTANT_CONDITIONING": True},
                "squared": {"TRAINER.LOREAL.HLD_TAU_SQUARED": True},
            },
            "claims": [
                {"better": "both", "worse": "no LLD", "published": "HM 3 against 2"},
                {"better": "no image", "worse": "both", "published": "made up"},
                {"better": "both", "worse": "squared", "published": "not in the paper"},
            ],
        }
    ],
}


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the page of a folder where LLD helps, the image does not, and a variant is missing."""
    for name in ("DATA", "HOST", "SHOTS", "CLIP_WEIGHTS", "RECIPE"):
        monkeypatch.delenv(name, raising=False)
    out = tmp_path / "out"
    for seed in (1, 2, 3):
        write_run(out, seed=seed)
        write_run(out, seed=seed, gain=-0.06, label="demo-aaaaaaaa", overrides=[CHANGE])
        constant = [["loreal", "TRAINER.LOREAL.CONSTANT_CONDITIONING", "True"]]
        write_run(out, seed=seed, gain=0.001, label="demo-bbbbbbbb", overrides=constant)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False))
    file = tmp_path / "ABLATIONS.md"
    assert (
        main(["report", str(out), "--ablations", str(file), "--plans", str(tmp_path / "mine.yaml")])
        == 0
    )
    return file.read_text()


def test_every_variant_has_a_line_and_missing_ones_say_so(page: str) -> None:
    lines = {
        line.split(" | ")[0].strip("| "): line
        for line in page.splitlines()
        if line.startswith("| ")
    }
    assert lines["both"].endswith(" | - | - | - | 3 |")
    assert "| LLD_WEIGHT 0.0 |" in lines["no LLD"] and "< 0.001 | 3 |" in lines["no LLD"]
    assert "| not measured | - | - | - | 0 |" in lines["squared"]
    assert lines["no image"].endswith("| 3 |"), "a control is found under its own override"


def test_sentences_say_what_was_measured_and_whether_the_paper_agrees(page: str) -> None:
    assert "Claims of the paper: 1 agrees, 0 disagrees, 1 undecided, 1 not measured" in page
    (spread,) = [line for line in page.splitlines() if line.startswith("- maple: worse than")]
    assert "no LLD (-" in spread and "within noise of `both`: no image (+" in spread
    assert "published, `both` is better than `no LLD` (HM 3 against 2); measured +" in page
    assert ": agrees." in page and "undecided, the difference is within noise." in page
    assert "`squared` (not in the paper); not measured." in page


def test_a_claim_that_measures_the_other_way_disagrees(page: str, tmp_path: Path) -> None:
    claim = {"better": "no LLD", "worse": "both", "published": "x"}
    plan, file = tmp_path / "other.yaml", tmp_path / "other.md"
    plan.write_text(
        yaml.safe_dump(
            PLAN | {"factors": [PLAN["factors"][0] | {"claims": [claim]}]}, sort_keys=False
        )
    )
    assert (
        main(["report", str(tmp_path / "out"), "--ablations", str(file), "--plans", str(plan)]) == 0
    )
    assert "0 agrees, 1 disagrees" in file.read_text()


def test_seeds_that_differ_in_sign_decide_nothing(tmp_path: Path) -> None:
    for seed, gain in ((1, 0.2), (2, 0.2), (3, -0.05)):
        write_run(tmp_path, seed=seed)
        write_run(tmp_path, seed=seed, gain=gain, label="demo-aaaaaaaa", overrides=[CHANGE])
    plain, changed = sorted(
        variant_groups(collect(tmp_path).results)[0], key=lambda g: g.setting.overrides
    )
    comparison = compare(changed, plain)
    assert comparison.p < 0.001 and not comparison.same_sign and not decided(comparison)
    two = [replace(g, results=g.results[:2]) for g in (changed, plain)]
    assert decided(compare(*two))


def test_plans_without_factors_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "out")
    file = tmp_path / "page.md"
    assert (
        main(["report", str(tmp_path / "out"), "--ablations", str(file), "--plans", "lr_b2n"]) == 2
    )
    assert "has no factors; docs/SWEEPS.md says" in capsys.readouterr().err and not file.exists()
    assert main(["report", str(tmp_path / "out"), "--plans", "ablations"]) == 2
    assert "--plans belongs to --ablations" in capsys.readouterr().err


def test_advice_keeps_what_nothing_else_beats(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path)
    write_rivals(tmp_path)
    assert main(["advise", str(tmp_path), "--dataset", "demo"]) == 0
    runs, rivals = capsys.readouterr().out.split("\n\ndemo, base2new")
    assert "1 of 4 choices that no other beats in HM (%) and time and memory" in runs, (
        "without times, the most accurate row beats all others"
    )
    assert "maple: MaPLe, trained and tested at 224" in runs
    assert "2 of 2 choices" in rivals and "CLIP: zero-shot" in rivals
    assert main(["advise", str(tmp_path), "--dataset", "demo", "--ms", "2"]) == 0
    limited = capsys.readouterr().out
    assert "1 of 1 choices" in limited and "zero-shot" in limited and "up-sampled" not in limited


def test_rows_and_rivals_stand_on_one_front_where_one_picture_was_timed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = {"native": 9.0, "native_at_phi": 2.0, "phi": 2.1, "loreal": 2.2}
    rivals = {"zero-shot": 1.0, "MaPLe trained at 224, up-sampled": 7.0}
    for folder in (write_run(tmp_path, gain=0.05), write_rivals(tmp_path)):
        record = json.loads((folder / RESULTS).read_text())
        for row in record["rows"]:
            row["picture_ms"] = (times | rivals)[row["name"]]
        write_json(folder / RESULTS, record)
    assert main(["advise", str(tmp_path), "--dataset", "demo", "--to", str(tmp_path / "x")]) == 0
    out = capsys.readouterr().out
    (small,) = (line for line in out.splitlines() if line.startswith("With pictures of 96"))
    (large,) = (line for line in out.splitlines() if line.startswith("With pictures of 224"))
    assert small.startswith(
        "With pictures of 96 pixels, take maple: MaPLe trained at 224, up-sampled (HM 79.0, 7.0 ms)"
    )
    assert "with less time maple: + LOREAL, tested at 96" in small and "CLIP: zero-shot" in small
    assert "tested at 96 (HM 57" not in small, "hardly faster than LOREAL, and worse"
    assert "4 of 6 choices" in out and "MaPLe, trained at 224, tested at 96" not in out
    assert large.startswith("With pictures of 224 pixels, take maple: MaPLe, trained and tested at")
    assert f"drawn: {tmp_path / 'x' / 'front.png'}\n" in out
    assert (tmp_path / "x" / "front.png").read_bytes()[:4] == b"\x89PNG"
    words = ["advise", str(tmp_path), "--dataset", "demo", "--ms", "5"]
    assert main(words) == 0
    within = capsys.readouterr().out
    assert "With pictures of 96 pixels and 5 ms each, take maple: + LOREAL" in within
    assert "up-sampled" not in within and "224 pixels" not in within
    assert "not timed alone" not in out + within


def test_choices_that_were_not_timed_alone_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["advise", str(tmp_path), "--dataset", "demo"]
    for method in ("maple", "coop"):  # CoOp's record is of an older release
        folder = write_run(tmp_path, method=method, gain=0.3 if method == "coop" else 0.0)
        record = json.loads((folder / RESULTS).read_text())
        for row in record["rows"] if method == "maple" else ():
            row["picture_ms"] = 2.0
        write_json(folder / RESULTS, record)
    ours = [g for g in group_results(collect(tmp_path).results)[0] if g.row == "loreal"]
    (better,) = (g.summaries()[0] for g in ours if g.setting.method == "coop")
    assert main(words) == 0
    table, left_out = capsys.readouterr().out.split("Left out, because not timed alone: ")
    assert "of 4 choices" in table and "coop" not in table
    first, *others = left_out.splitlines()[0].split("; ")
    assert first == f"coop: + LOREAL, tested at 96 (picture 96, {better:.1f} %)"
    assert len(others) == 3 and others[-1].endswith("the run's command with --test-only.")
    write_rivals(tmp_path)
    assert main(words) == 0
    (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith("Left out"))
    assert "(picture 96, 79.0 %)" in line, "the rival is named, too"
    assert line.endswith("To time them: the run's command with --test-only and loreal rivals.")


def test_a_choice_is_beaten_only_in_what_is_told(tmp_path: Path) -> None:
    write_rivals(tmp_path)
    groups, _ = group_results(collect(tmp_path).results)
    cheap, good = sorted(map(choice_of, groups), key=lambda c: c.accuracy)
    assert not cheap.beats(good) and not good.beats(cheap) and front([cheap, good]) == [good, cheap]
    assert not good.beats(good)
    untold = replace(good, milliseconds=None)
    assert not untold.beats(cheap), "who knows what it costs"
    assert replace(good, milliseconds=cheap.milliseconds).beats(replace(cheap, memory_mb=None))


def test_advice_has_the_host_once_and_a_variant_only_where_it_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path)
    write_run(tmp_path, phi=144)
    write_run(
        tmp_path, label="demo-1", overrides=[["loreal", "TRAINER.LOREAL.DRIFT", "ridge"]], gain=0.3
    )
    assert main(["advise", str(tmp_path), "--dataset", "demo"]) == 0
    printed = capsys.readouterr().out
    # native once; three rows at 96, three at 144, and the variant
    assert "of 8 choices" in printed and "+ LOREAL, tested at 96 (DRIFT ridge)" in printed


def test_advice_on_pictures_of_one_s_own_needs_no_name_of_a_protocol(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_targets(tmp_path, "fit", names=())
    assert main(["advise", str(tmp_path), "--dataset", "demo"]) == 0
    assert capsys.readouterr().out.startswith("demo, fit, 16 shots")
    write_run(tmp_path)
    assert main(["advise", str(tmp_path), "--dataset", "demo"]) == 0
    assert capsys.readouterr().out.startswith("demo, base2new, 16 shots")


@pytest.mark.parametrize(
    "words, said",
    [
        (("--dataset", "demmo"), "did you mean 'demo'?"),
        (("--dataset", "demo", "--protocol", "xd"), "no finished run of protocol xd"),
        (("--dataset", "demo", "--ms", "fast"), "--ms must be a number"),
        (("--dataset", "demo", "--mb", "-1"), "--mb must be a number above 0"),
        (("--dataset", "demo", "--mb", "1"), "nothing for demo within the limits"),
    ],
)
def test_advice_that_cannot_be_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    write_run(tmp_path)
    assert main(["advise", str(tmp_path), *words]) == 2
    assert said in capsys.readouterr().err


def test_seeds_that_contradict_each_other_leave_a_claim_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATA", "HOST", "SHOTS", "CLIP_WEIGHTS", "RECIPE"):
        monkeypatch.delenv(name, raising=False)
    out = tmp_path / "out"
    for seed, gain in ((1, -0.08), (2, -0.08), (3, 0.02)):
        write_run(out, seed=seed)
        write_run(out, seed=seed, gain=gain, label="demo-aaaaaaaa", overrides=[CHANGE])
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False))
    file = tmp_path / "ABLATIONS.md"
    assert (
        main(["report", str(out), "--ablations", str(file), "--plans", str(tmp_path / "mine.yaml")])
        == 0
    )
    assert "p < 0.001, n 3: undecided, seeds say the opposite of each other." in file.read_text()
