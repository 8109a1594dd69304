"""Folders: the family's layout, one folder a configuration, nothing finished is overwritten."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loreal_plugin.paths import bundle_root
from loreal_plugin.results.protocols import BASE2NEW
from loreal_plugin.runs.folders import config_label, lock_file, run_folder, set_aside
from loreal_plugin.runs.spec import (
    REACH,
    SCOPES,
    STAGES,
    RunSpec,
    build_spec,
    describes_student,
    narrowness,
    parse_overrides,
)


def spec(*opts: str, weights: str = "demo", **more: str) -> RunSpec:
    return build_spec("maple", "96", weights=weights, opts=opts, env={}, out="/out", **more)


def test_layout_is_the_familys() -> None:
    folder = run_folder(spec(), "train_base", "MaPLe_LOREAL", "demo", "phi96")
    assert (
        folder
        == Path("/out/base2new/train_base/demo/shots_16/MaPLe_LOREAL/phi96/demo/seed1").resolve()
    )
    native = run_folder(spec(), "test_new", "MaPLe", "demo")
    assert native == Path("/out/base2new/test_new/demo/shots_16/MaPLe/demo/seed1").resolve()


def test_shipped_weights_have_folders_of_their_own() -> None:
    assert config_label(spec(), "loreal") == "demo"
    assert config_label(spec(weights="demo-2"), "loreal") == "demo-2"
    assert config_label(spec(weights="ViT-B/16"), "loreal") == "vit_b16"
    assert config_label(spec(weights="my.pt"), "alpha").startswith("vit_b16-")


def test_loreal_overrides_leave_the_host_stages_folder() -> None:
    ablation = spec("TRAINER.LOREAL.BRIDGE", "self")
    assert config_label(ablation, "alpha") == "demo"
    assert config_label(ablation, "loreal").startswith("demo-")


def test_an_adaptation_leaves_stage_3_where_it_is_and_moves_the_runs_record() -> None:
    for words in (
        ("TRAINER.LOREAL.ADAPT_VIEWS", "64"),
        ("adapted:TRAINER.LOREAL.SLOT_PARTS", "both"),
    ):
        variant = spec(*words)
        for testing in (False, True):
            assert config_label(variant, "loreal", testing=testing) == "demo"
        assert config_label(variant, "adapted") != "demo"
        assert config_label(variant, "loreal", testing=True, whole_run=True) != "demo"


def test_host_overrides_change_every_folder() -> None:
    plain, other = spec("OPTIM.LR", "1"), spec("host:OPTIM.LR", "1")
    for changed in (plain, other):
        assert config_label(changed, "alpha") != "demo"
        assert config_label(changed, "loreal") != "demo"
    assert config_label(plain, "loreal") != config_label(other, "loreal")


def test_one_key_and_value_of_another_scope_has_another_folder() -> None:
    every = spec("OPTIM.LR", "1")
    for stage in ("loreal", "adapted"):
        narrow = config_label(spec(f"{stage}:OPTIM.LR", "1"), stage)
        assert config_label(every, stage) != narrow
        assert config_label(spec("OPTIM.LR", "2", f"{stage}:OPTIM.LR", "1"), stage) != narrow
    narrow = config_label(spec("adapted:INPUT.NUM_CROPS", "2"), "adapt")
    assert config_label(spec("INPUT.NUM_CROPS", "2"), "adapt") != narrow


@pytest.mark.parametrize("scope", ["host", "beta", "loreal", "adapted"])
@pytest.mark.parametrize("key", ["OPTIM.LR", "INPUT.NUM_CROPS", "MODEL.INIT_WEIGHTS"])
def test_of_two_scopes_the_narrower_counts_in_whatever_order(scope: str, key: str) -> None:
    narrow, every = (f"{scope}:{key}", "1"), (key, "2")
    one, other = spec(*narrow, *every), spec(*every, *narrow)
    for stage in STAGES:
        assert one.overrides_for(stage) == other.overrides_for(stage)
        assert config_label(one, stage) == config_label(other, stage)
        values = {o.key: o.value for o in one.overrides_for(stage)}
        told = stage in REACH[scope] or (scope == "host" and describes_student(key))
        assert values == {key: "1" if told else "2"}


@pytest.mark.parametrize("text", ["docs/RUNS.md", "help"])
def test_the_lower_row_of_the_scopes_is_the_narrower(text: str) -> None:
    page = BASE2NEW.notes if text == "help" else (bundle_root() / text).read_text(encoding="utf-8")
    assert "the lower" in page
    named = re.findall(r"^(?:\| .*`|  .*\b)([a-z]+):KEY\b", page, re.MULTILINE)
    assert {"all", *named} == set(SCOPES), "the first row has no name"
    ranks = [narrowness(parse_overrides((f"{scope}:A.B", "1"))[0]) for scope in named]
    assert ranks == sorted(ranks) and 0 not in ranks


def test_same_overrides_in_another_order_share_a_folder_and_the_last_value_wins() -> None:
    first = config_label(spec("A.B", "1", "C.D", "2"), "alpha")
    assert config_label(spec("C.D", "2", "A.B", "1"), "alpha") == first
    assert config_label(spec("A.B", "9", "C.D", "2", "A.B", "1"), "alpha") == first


def test_set_aside_keeps_every_older_run(tmp_path: Path) -> None:
    places = []
    for content in ("one", "two"):
        folder = tmp_path / "demo" / "seed1"
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(content)
        places.append(set_aside(folder, "abcdef0123456789"))
        assert not folder.exists()
    assert [place.relative_to(tmp_path).as_posix() for place in places] == [
        "demo.replaced/abcdef01/seed1",
        "demo.replaced/abcdef01/seed1-2",
    ]
    assert [(place / "results.json").read_text() for place in places] == ["one", "two"]


def test_lock_is_hidden_from_the_familys_parser(tmp_path: Path) -> None:
    lock = lock_file(tmp_path / "demo" / "seed1")
    assert lock.parent == tmp_path / "demo" and lock.name.startswith(".")
