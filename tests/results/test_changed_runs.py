"""Runs with overrides: which stand beside the run that they change, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_runs import score, timed, write_run

from loreal_plugin.files import write_checked
from loreal_plugin.results.advise import advise
from loreal_plugin.results.group import group_results
from loreal_plugin.results.layout import blocks_of
from loreal_plugin.results.markdown import to_markdown
from loreal_plugin.results.reader import collect
from loreal_plugin.results.record import RESULTS, harmonic_mean
from loreal_plugin.results.report import build_report
from loreal_plugin.results.variant_table import variants
from loreal_plugin.results.verdict import opening

PLAIN = "phi 96, 16 shots, weights demo"
OPTION = "TRAINER.LOREAL."
HOST_AT_PHI = "MaPLe, trained and tested at 96"
ADAPTED = "+ adapted image side, tested at 96"
STAGE = {"folder": "elsewhere", "parameters": 1, "seconds": 1.0, "peak_memory_mb": 1.0}
STAGE |= {"epochs": 1, "steps_per_epoch": 1}


def write(
    out: Path,
    *override: str,
    rate: float | None = None,
    seeds: tuple[int, ...] = (1,),
    keys: dict[str, str] | None = None,
) -> None:
    """Write runs with an override, the rate of an adapted student, and other keys of stages."""
    label = f"demo-{'-'.join(override)}" if override else "demo"
    for seed in seeds:
        asked = [list(override)] if override else []
        folder = timed(write_run(out, seed=seed, label=label, overrides=asked))
        record = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        if rate is not None:
            record["rows"].append(_adapted_row(rate, seed))
            record["stages"] |= {name: {**STAGE, "key": name} for name in ("adapt", "adapted")}
        for name, key in (keys or {}).items():
            record["stages"][name]["key"] = key
        write_checked(folder / RESULTS, record)


def _adapted_row(rate: float, seed: int) -> dict[str, Any]:
    base, new = score(rate, 10 * seed), score(rate, 10 * seed + 1)
    sizes = {"train_size": 96, "test_size": 96, "parameters": 1, "seconds": 1.0}
    hm = harmonic_mean(base["accuracy"], new["accuracy"])
    costs = {"picture_ms": 2.1, "tokens": 37}
    return {"name": "adapted", "label": ADAPTED, "base": base, "new": new, "hm": hm} | sizes | costs


def without_stages(out: Path) -> None:
    """Take from every record what its stages are, as older releases left it out."""
    for path in out.rglob(RESULTS):
        record = json.loads(path.read_text(encoding="utf-8"))
        if "stages" in record:
            write_checked(path, record | {"stages": {}})


def blocks(out: Path) -> dict[str, list[str]]:
    """Return the labels of each block's rows by its title."""
    groups, _ = group_results(collect(out).results)
    found = blocks_of(groups, "base2new")
    return {b.title: [line.groups[0].label for line in b.lines()] for b in found}


def changes(out: Path) -> list[list[str]]:
    """Return the cells of the one table of changes; nothing where there is none."""
    groups, _ = group_results(collect(out).results)
    return [[cell.text for cell in line] for table in variants(groups) for line in table.body]


def test_a_run_with_another_beta_has_a_block_with_its_own_host(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "loreal", f"{OPTION}PRESET", "paper", keys={"beta": "b", "loreal": "c"})
    found = blocks(tmp_path)
    assert list(found) == [PLAIN, f"{PLAIN}, PRESET paper"]
    assert found[PLAIN] == found[f"{PLAIN}, PRESET paper"] and HOST_AT_PHI in found[PLAIN]
    text = to_markdown(build_report(tmp_path))
    assert "Variants" not in text, "it is no change of stage 3 alone"
    assert "**LOREAL against each baseline, phi 96, 16 shots, weights demo, PRESET paper**" in text
    assert "At 96 (demo, PRESET paper), LOREAL gives MaPLe back" in text


def test_a_page_opens_with_runs_that_nobody_changed(tmp_path: Path) -> None:
    write(tmp_path, rate=0.70)
    change = ("loreal", f"{OPTION}PRESET", "mine")
    write(tmp_path, *change, rate=0.80, keys={"beta": "b", "loreal": "c", "adapted": "d"})
    said = [line.split("), ")[0] for line in opening(tmp_path, "base2new")]
    assert said == ["- At 96 (demo", "- At 96 (demo", "- At 96 (demo, PRESET mine"]


def test_the_records_say_whether_a_preset_trains_another_beta(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "loreal", f"{OPTION}PRESET", "mine", keys={"loreal": "c"})
    assert list(blocks(tmp_path)) == [PLAIN]
    (line,) = changes(tmp_path)
    assert line[:3] == ["maple", "PRESET mine", "+ LOREAL, tested at 96"]


def test_where_records_name_no_stages_the_keys_of_a_change_say_it(tmp_path: Path) -> None:
    asked = {"LLD_WEIGHT": "0.0", "POSITION_RESAMPLING": "bicubic_antialias", "PRESET": "paper"}
    write(tmp_path)
    for name, value in asked.items():
        write(tmp_path, "loreal", f"{OPTION}{name}", value)
    without_stages(tmp_path)
    of_their_own = [f"{PLAIN}, {name} {asked[name]}" for name in ("POSITION_RESAMPLING", "PRESET")]
    assert list(blocks(tmp_path)) == [PLAIN, *of_their_own]
    (line,) = changes(tmp_path)
    assert line[1] == "LLD_WEIGHT 0.0"


def test_another_adaptation_stands_beside_the_adapted_row_that_it_changes(tmp_path: Path) -> None:
    asked = {("loreal", f"{OPTION}ADAPT_VIEWS", "64"): 0.75}
    asked[("adapted", f"{OPTION}SLOT_PARTS", "both")] = 0.72
    write(tmp_path, rate=0.70, seeds=(1, 2))
    for change, rate in asked.items():
        write(tmp_path, *change, rate=rate, seeds=(1, 2), keys={"adapted": "other"})
    assert list(blocks(tmp_path)) == [PLAIN]
    lines = changes(tmp_path)
    assert [line[1:3] for line in lines] == [
        ["adapted TRAINER.LOREAL.SLOT_PARTS both", ADAPTED],
        ["ADAPT_VIEWS 64", ADAPTED],
    ], "LOREAL's own row is as it was"
    gains = [float(line[4]) for line in lines]
    assert gains[1] > gains[0] > 0 and lines[0][-3:] == ["2.1", "37", "2"]


def test_an_adapted_row_that_a_change_of_stage_3_leaves_alone_is_not_repeated(
    tmp_path: Path,
) -> None:
    change = ("loreal", f"{OPTION}LLD_WEIGHT", "0.0")
    write(tmp_path, rate=0.70)
    write(tmp_path, *change, rate=0.70, keys={"loreal": "c"})
    (line,) = changes(tmp_path)
    assert line[2] == "+ LOREAL, tested at 96"


def test_an_adapted_row_without_its_like_is_compared_with_nothing(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "loreal", f"{OPTION}ADAPT", "patch_lora", rate=0.75)
    (line,) = changes(tmp_path)
    assert line[1:3] == ["ADAPT patch_lora", ADAPTED] and line[4:7] == ["-", "-", "-"]


def test_a_change_of_a_run_that_is_not_there_has_a_block_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, "loreal", f"{OPTION}LLD_WEIGHT", "0.0")
    assert list(blocks(tmp_path)) == [f"{PLAIN}, LLD_WEIGHT 0.0"] and not changes(tmp_path)


def test_advice_knows_every_adaptation_and_each_choice_once(tmp_path: Path) -> None:
    write(tmp_path, rate=0.70)
    write(tmp_path, "loreal", f"{OPTION}ADAPT_VIEWS", "64", rate=0.95, keys={"adapted": "other"})
    write(tmp_path, "loreal", f"{OPTION}PRESET", "paper", keys={"beta": "b", "loreal": "c"})
    text = advise(tmp_path, "demo").text
    assert "take maple: + adapted image side, tested at 96 (ADAPT_VIEWS 64)" in text
    # five rows of the plain run, one of ADAPT_VIEWS, two of the preset: alpha's are as they were
    assert "of 8 choices" in text


@pytest.mark.parametrize("timed_at_96", [True, False])
def test_advice_has_the_host_at_the_native_size_once_whatever_seeds_each_phi_has(
    tmp_path: Path, timed_at_96: bool
) -> None:
    for seed in (1, 2, 3):
        folder = write_run(tmp_path, seed=seed)
        timed(folder) if timed_at_96 else None
    timed(write_run(tmp_path, phi=144))
    lines = [line for line in advise(tmp_path, "demo").text.splitlines() if " 224  " in line]
    (native,) = (line.split() for line in lines)
    assert native[-1] == "3" and float(native[-3]) > 0, "most seeds, and the time of either"


def test_advice_keeps_recipes_apart(tmp_path: Path) -> None:
    timed(write_run(tmp_path))
    timed(write_run(tmp_path, label="other", recipe="other"))
    assert "of 8 choices" in advise(tmp_path, "demo").text
