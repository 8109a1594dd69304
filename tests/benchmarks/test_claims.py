"""The ledger of claims: its numbers are those of the records, its verdicts those of the numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_runs import TOTAL, write_run, write_targets

from benchmarks.claims import BENCH, CLAIMS, FORMS, ROOT, ledger, main
from benchmarks.claims_find import Rows, overrides_of
from benchmarks.claims_line import AGREES, DISAGREES, MISSING, UNDECIDED, Context, Line
from loreal_plugin.bench.lookup import group
from loreal_plugin.bench.results_file import BenchStore
from loreal_plugin.files import write_json
from loreal_plugin.results import comparable
from loreal_plugin.results.record import RESULTS
from loreal_plugin.sweep.plan_file import find_plan

CONTENT = yaml.safe_load(CLAIMS.read_text(encoding="utf-8"))
DEFAULTS = CONTENT["defaults"] | {"methods": ["maple"]}
PAIR = {"ours": {"row": "loreal"}, "other": {"row": "phi"}}
ALL = [claim for table in CONTENT["tables"] for claim in table["claims"]]


def lines(out: Path, form: str, root: Path = ROOT, **more: Any) -> list[Line]:
    """Return the lines of one claim about the runs of a folder."""
    claim = {"claim": "it is so", "source": "page.md", "command": "x", "form": form} | PAIR | more
    return list(FORMS[form](Context(Rows([out]), (), DEFAULTS, root), claim))


def summaries(folder: Path) -> dict[str, float]:
    """Return HM by row of a written run."""
    rows = json.loads((folder / RESULTS).read_text())["rows"]
    return {row["name"]: row["hm"] for row in rows}


def test_a_gain_is_the_mean_difference_over_seeds(tmp_path: Path) -> None:
    hms = [summaries(write_run(tmp_path, seed=seed, gain=0.1)) for seed in (1, 2, 3)]
    (line,) = lines(tmp_path, "gain", lost="native")
    ours, host, native = (sum(hm[r] for hm in hms) / 3 for r in ("loreal", "phi", "native"))
    share = round(100 * (ours - host) / (native - host))
    wanted = f"{ours:.2f} against {host:.2f}: {ours - host:+.2f}, of {native - host:.2f} lost"
    assert line.measured == f"{wanted} ({share} %)"
    assert (line.at, line.world, line.seeds) == ("maple, phi 96", "demo, 16 shots", "3")
    low, high = map(float, line.pictures.split(" to "))
    assert low < ours - host < high and line.verdict == AGREES and " to " in line.over_seeds


@pytest.mark.parametrize(
    ("gain", "of_gain", "of_never_below"),
    [(0.2, AGREES, AGREES), (-0.3, DISAGREES, DISAGREES), (-0.04, UNDECIDED, UNDECIDED)],
)
def test_verdicts_follow_the_paired_test(
    gain: float, of_gain: str, of_never_below: str, tmp_path: Path
) -> None:
    write_run(tmp_path, gain=gain)
    for form, wanted in (("gain", of_gain), ("never_below", of_never_below)):
        (line,) = lines(tmp_path, form)
        assert line.verdict == wanted, line.measured


def test_other_rows_are_those_of_the_same_runs(tmp_path: Path) -> None:
    paper = {"TRAINER.LOREAL.PRESET": "paper"}
    write_run(tmp_path, gain=0.1)
    ours = {"ours": {"row": "loreal", "overrides": paper}}
    assert [x.verdict for x in lines(tmp_path, "gain", **ours)] == [MISSING]
    asked = [["loreal", "TRAINER.LOREAL.PRESET", "paper"]]
    changed = summaries(write_run(tmp_path, gain=0.2, label="demo-1", overrides=asked))
    (line,) = lines(tmp_path, "gain", **ours)
    assert line.measured.startswith(f"{changed['loreal']:.2f} against {changed['phi']:.2f}")
    (line,) = lines(tmp_path, "gain", **ours, other={"row": "loreal", "overrides": {}})
    assert float(line.measured.rpartition(" ")[2]) > 0


def test_a_trend_needs_every_phi(tmp_path: Path) -> None:
    for phi, gain in ((96, 0.25), (144, 0.1), (192, 0.0)):
        (line,) = lines(tmp_path, "trend", at={"phis": [96, 144, 192]}) if phi > 96 else (None,)
        assert line is None or line.verdict == MISSING
        write_run(tmp_path, phi=phi, gain=gain)
    (line,) = lines(tmp_path, "trend", at={"phis": [96, 144, 192]})
    assert line.verdict == AGREES and line.at == "maple, phi 96 144 192"
    (line,) = lines(tmp_path, "trend", at={"phis": [192, 144, 96]})
    assert line.verdict == DISAGREES


@pytest.mark.parametrize(
    ("times", "tokens", "wanted"),
    [
        ([1.0, 1.2, 0.8], 37, UNDECIDED),  # 0.5 to 1.5
        ([1.0, 1.05, 0.95], 37, AGREES),
        ([1.5, 1.6, 1.4], 37, DISAGREES),
        ([1.0, 1.1, 0.9], 50, DISAGREES),
        ([1.0], 37, UNDECIDED),
    ],
)
def test_costs_are_tokens_and_the_ratio_of_times(
    times: list[float], tokens: int, wanted: str, tmp_path: Path
) -> None:
    for seed, factor in enumerate(times, start=1):
        folder = write_run(tmp_path, seed=seed)
        record = json.loads((folder / RESULTS).read_text())
        for row in record["rows"]:
            ours = row["name"] == "loreal"
            row |= {"picture_ms": 2.0 * (factor if ours else 1), "tokens": tokens if ours else 37}
        record.pop("own_sha256", None)
        write_json(folder / RESULTS, record)
    (line,) = lines(tmp_path, "cost")
    assert line.verdict == wanted and line.seeds == str(len(times))
    assert f"{2 * sum(times) / len(times):.1f} ms against 2.0" in line.measured


def test_agreement_is_the_least_of_the_runs(tmp_path: Path) -> None:
    for seed, rate in ((1, 100.0), (2, 99.25)):
        mode = {"INFERENCE": "static", "chosen": {"agreement": rate, "views": 400}}
        write_run(tmp_path, seed=seed, inference=mode)
    for least, wanted in ((99.0, AGREES), (99.5, DISAGREES)):
        (line,) = lines(tmp_path, "agreement", least=least)
        assert line.verdict == wanted and line.measured == "static: 99.2 to 100.0 %"


def test_ablations_are_judged_by_their_runs(tmp_path: Path) -> None:
    (claim,) = [c for c in ALL if c["form"] == "plan"]
    paper = ["loreal", "TRAINER.LOREAL.PRESET", "paper"]
    one_way = ["loreal", "TRAINER.LOREAL.BRIDGE", "beta_to_alpha"]
    for seed in (1, 2):
        runs = {"paper": [paper], "one": [paper, one_way]}
        for (label, overrides), gain in zip(runs.items(), (0.2, 0.0), strict=True):
            write_run(tmp_path, seed=seed, label=label, overrides=overrides, gain=gain)
    context = Context(Rows([tmp_path]), (), DEFAULTS, ROOT)
    found = {x.claim: x for x in FORMS["plan"](context, claim) if x.verdict != MISSING}
    (line,) = found.values()
    assert line.claim.startswith("bridge: both directions > low to standard only")
    assert (line.verdict, line.seeds, line.at) == (AGREES, "2", "maple, phi 96")
    told = ("paper", "one")
    hms = [
        summaries(folder.parent)["loreal"] for name in told for folder in _records(tmp_path, name)
    ]
    assert f"{sum(hms[:2]) / 2 - sum(hms[2:]) / 2:+.2f}" in line.measured


def _records(out: Path, label: str) -> list[Path]:
    return sorted(out.glob(f"base2new/train_base/demo/*/maple_LOREAL/phi96/{label}/*/{RESULTS}"))


def test_the_published_averages_need_the_papers_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (claim,) = [c for c in ALL if c["form"] == "real"]
    names = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")
    told = {"dataset": "imagenet", "recipe": "vit_b16", "names": names}
    told |= {"weights": {"name": "ViT-B/16", "sha256": "w"}}
    folder = write_targets(tmp_path, "dg", **told)
    context = Context(Rows([tmp_path]), (), DEFAULTS, ROOT)
    assert [x.verdict for x in FORMS["real"](context, claim)] == [MISSING], "other test pictures"
    parts = dict.fromkeys((*names, "imagenet"), comparable.Parts(0, TOTAL))
    monkeypatch.setattr(comparable, "PARTS", parts)
    (line,) = FORMS["real"](context, claim)
    rows = {
        row["name"]: row["average"] for row in json.loads((folder / RESULTS).read_text())["rows"]
    }
    gains = [rows["loreal"] - rows[host] for host in ("native_at_phi", "phi")]
    wanted = f"{rows['loreal']:.2f}, gain {gains[0]:+.2f} and {gains[1]:+.2f}; published 26.86"
    assert line.measured.startswith(wanted) and line.verdict == AGREES and line.at == "maple"


def test_a_page_gives_its_number_with_the_sign_of_the_claim(tmp_path: Path) -> None:
    write_run(tmp_path)
    table = "| what | new |\n|---|---|\n| a | -8.5 (-15.0 to -2.0) |\n| b | +1.0 (-1.0 to 3.0) |\n"
    (tmp_path / "page.md").write_text(f"<!-- begin t -->\n{table}<!-- end t -->\n")
    told = {"part": "t", "column": "new", "sign": "below", "seeds": 3, "world": "w"}
    (line,) = lines(tmp_path, "page", tmp_path, **told, row="a")
    assert (line.measured, line.over_seeds, line.verdict) == ("+8.5", "2.0 to 15.0", AGREES)
    (line,) = lines(tmp_path, "page", tmp_path, **told, row="b")
    assert line.verdict == UNDECIDED
    (line,) = lines(tmp_path, "page", tmp_path, **told, row="c")
    assert line.verdict == MISSING


def test_costs_of_the_bench_are_its_records(tmp_path: Path) -> None:
    write_run(tmp_path)
    context = Context(Rows([tmp_path]), tuple(group(BenchStore(BENCH))), DEFAULTS, ROOT)
    cells = json.loads(BENCH.read_text())["cells"]
    samples = cells["infer/vit_b16/cpu/t1/fp32/maple/phi96/C100/B1"]["samples"]
    static, host = (samples[name]["cpu"] for name in ("static:class_first", "host"))
    ratios = sorted(a / b for a, b in zip(static, host, strict=True))
    claim = next(c for c in ALL if c.get("slow") == "static:class_first")
    (line,) = FORMS["ratio"](context, claim)
    assert line.measured.startswith(f"x {ratios[len(ratios) // 2]:.2f} (")
    for bound, verdict in ((1e-9, DISAGREES), (1e9, AGREES)):  # a bound of our own
        own = {k: v for k, v in claim.items() if k != "published"} | {"at_most": bound}
        (line,) = FORMS["ratio"](context, own)
        assert ", at most x" in line.measured and line.verdict == verdict
    claim = next(c for c in ALL if c.get("what") == "time")
    (line,) = FORMS["saving"](context, claim)
    large = cells["infer/vit_b16/cpu/t1/fp32/maple/phi224/C100/B1"]["samples"]["host"]["cpu"]
    small, large = (sorted(v)[len(v) // 2] for v in (host, large))
    assert line.measured.startswith(f"{100 * (1 - small / large):.0f} %")


def test_every_claim_is_on_the_page_and_what_has_no_record_is_not_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, method="coop")
    assert main(["--out", str(tmp_path), "--bench", str(tmp_path / "none.json")]) == 0
    page = capsys.readouterr().out
    for claim in ALL:
        assert claim.get("claim", "bridge: both directions") in page
        assert f"`{claim['command']}`" in page and claim["source"] in page
    assert "coop, phi 96 |" in page and "maple, mma, mmrl, phi 96 | - |" in page
    assert page == ledger(Context(Rows([tmp_path]), (), CONTENT["defaults"], ROOT), CONTENT)


@pytest.mark.parametrize("claim", ALL, ids=lambda c: c.get("claim", "plan")[:40])
def test_a_claim_is_of_a_known_form_and_its_keys_exist(claim: dict[str, Any]) -> None:
    assert claim["form"] in FORMS
    words = claim["command"].split()
    if words[:2] == ["loreal", "sweep"]:
        find_plan(words[2])
    for row in (claim[name] for name in ("ours", "other") if name in claim):
        overrides_of(row)
    if claim["source"].endswith(".md"):
        assert (ROOT / claim["source"]).is_file()
