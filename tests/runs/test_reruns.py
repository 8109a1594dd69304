"""Which stages an override runs again, and what is refused before; trainings are counted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import random_clip_file, tiny_image_folder
from made_runs import OUTCOME, SCORE

from loreal_plugin.attach import detach_host
from loreal_plugin.attach.clip_source import using_weights
from loreal_plugin.errors import AttributeFileError, ConfigError, DataError, LorealError
from loreal_plugin.results.record import read_results
from loreal_plugin.results.seed_tables import read_runs
from loreal_plugin.runs import prepare as preparing
from loreal_plugin.runs.engine import Engine
from loreal_plugin.runs.identity import Identity
from loreal_plugin.runs.prepare import prepare
from loreal_plugin.runs.run import run_protocol
from loreal_plugin.runs.spec import RunSpec, build_spec
from loreal_plugin.runs.verify import verify

ALL = ["alpha", "beta", "loreal"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a folder with pictures of four classes, weights and an attribute file."""
    for name in ("DATA", "HOST", "OUT", "SHOTS", "RECIPE", "CLIP_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path / "cache"))
    tiny_image_folder(tmp_path / "data" / "pics", classes=4, per_class=4)
    random_clip_file(tmp_path)
    write_words(tmp_path, ["color", "shape"])
    detach_host()
    yield tmp_path
    detach_host()


def write_words(
    place: Path, words: list[str], per_class: dict[str, list[str]] | None = None
) -> None:
    content = {"schema_version": 1, "attributes": words} | (
        {"per_class": per_class} if per_class else {}
    )
    (place / "own.json").write_text(json.dumps(content))


def spec(
    place: Path,
    *opts: str,
    phi: str = "32",
    seed: str = "1",
    method: str = "maple",
    own: bool = True,
) -> RunSpec:
    """Return a run with the own attribute file, or (`own` False) with no LOREAL key at all."""
    ours = (
        ("TRAINER.LOREAL.ATTRIBUTES", str(place / "own.json"), "TRAINER.LOREAL.N_ATTRIBUTES", "2")
        if own
        else ()
    )
    return build_spec(
        method,
        phi,
        "pics",
        seed,
        data=str(place / "data"),
        out=str(place / "out"),
        shots="2",
        weights=str(place / "tiny_clip.pt"),
        recipe="demo",
        opts=[*ours, *opts],
    )


Count = Callable[..., list[str]]


@pytest.fixture
def trained(place: Path, monkeypatch: pytest.MonkeyPatch) -> Count:
    """Give a function that runs a spec with empty trainings and tests; returns the stages."""
    done: list[str] = []
    monkeypatch.setattr(
        Engine, "_train_now", lambda self, stage: done.append(stage.name) or dict(OUTCOME)
    )
    monkeypatch.setattr(Engine, "evaluate", lambda self, row, subset, again=False: {"score": SCORE})

    def run(*opts: str, until: str = "loreal", **given: Any) -> list[str]:
        done.clear()
        run_protocol(spec(place, *opts, **given), until=until, say=lambda text: None)
        return list(done)

    return run


def test_an_override_reruns_exactly_what_it_changes(place: Path, trained: Count) -> None:
    assert trained() == ALL
    assert trained() == []
    assert trained("OPTIM.LR", "0.1") == ALL
    assert trained(phi="48") == ["beta", "loreal"]
    assert trained("TRAINER.LOREAL.BRIDGE", "self") == ["loreal"]
    assert trained("loreal:OPTIM.LR", "0.1") == ["loreal"]
    assert trained("OPTIM.LR", "0.1") == [], "the same key and value of a narrower scope"
    assert trained("host:TRAINER.MAPLE.N_CTX", "3") == ALL
    assert trained("beta:OPTIM.MAX_EPOCH", "9", until="beta") == ["beta"]
    assert trained("beta:OPTIM.MAX_EPOCH", "9") == ["loreal"]
    assert trained(seed="2") == ALL
    assert trained() == [], "none of these runs took the first one's place"


def test_changed_files_rerun_what_they_change(place: Path, trained: Count) -> None:
    assert trained() == ALL
    write_words(place, ["color", "texture"])
    assert trained() == ["loreal"]
    picture = min((place / "data" / "pics" / "airplane").iterdir())
    status = picture.stat()
    twin = next(path for path in picture.parent.iterdir() if path != picture)
    picture.write_bytes(twin.read_bytes())
    os.utime(picture, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert trained() == ALL, "another picture under the same name"
    random_clip_file(place, seed=1)
    assert trained() == ALL, "other weights under the same name"


def test_until_beta_leaves_a_record_with_the_rows_that_exist(place: Path, trained: Count) -> None:
    assert trained("beta:OPTIM.MAX_EPOCH", "9", until="beta") == ["alpha", "beta"]
    (placed,) = read_runs(place / "out")
    assert [row.name for row in placed.rows] == ["native", "native_at_phi", "phi"]
    assert placed.rows[-1].label == "MaPLe, trained and tested at 32 with OPTIM.MAX_EPOCH 9"
    assert (placed.run["stage"], placed.run["phi"], list(placed.run["stages"])) == (
        "beta",
        32,
        ["alpha", "beta"],
    )


def test_until_alpha_has_a_record_for_each_phi(place: Path, trained: Count) -> None:
    assert trained(until="alpha") == ["alpha"] and trained(until="alpha", phi="48") == []
    runs = {placed.run["phi"]: placed for placed in read_runs(place / "out")}
    assert sorted(runs) == [32, 48]
    for placed in runs.values():
        assert [row.name for row in placed.rows] == ["native", "native_at_phi"]
        assert "files" not in placed.run.facts, "they lie in the folder of alpha"
    (alpha,) = (place / "out").glob("base2new/train_base/pics/shots_2/MaPLe/*/seed1")
    assert "files" in (read_results(alpha) or {}) and verify(place / "out").damaged == {}
    assert trained(phi="48") == ["beta", "loreal"] and len(read_runs(place / "out")) == 3


def test_a_run_that_went_on_counts_once(place: Path, trained: Count) -> None:
    assert trained(own=False, until="beta") == ["alpha", "beta"] and trained(own=False) == [
        "loreal"
    ]
    (placed,) = read_runs(place / "out")
    assert [row.name for row in placed.rows] == ["native", "native_at_phi", "phi", "loreal"]


def test_the_score_of_a_mode_chosen_later_stays(
    place: Path, trained: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode: dict[str, Any] = {"INFERENCE": "static"}
    own = Identity.inference
    monkeypatch.setattr(
        Identity, "inference", lambda self, name: mode if name == "loreal" else own(self, name)
    )
    trained()
    mode = {"INFERENCE": "tangent"}  # as loreal calibrate may choose
    other = {"accuracy": 25.0, "correct": 1, "total": 4, "hits": "80"}
    monkeypatch.setattr(Engine, "evaluate", lambda self, row, subset, again=False: {"score": other})
    for _ in range(2):
        assert trained() == []
        (placed,) = read_runs(place / "out")
        assert placed.run.rows[-1].scores["base"].accuracy == 25.0
    assert (placed.run["base"], placed.run["inference"]) == (other, mode)


def test_stage_3_gets_what_describes_the_host(place: Path) -> None:
    run = spec(
        place, "host:TRAINER.MMADAPTER.ADAPTER_SCALE", "0.5", "host:OPTIM.LR", "0.5", method="mma"
    )
    cfgs = prepare(run, say=lambda text: None).cfgs
    assert [cfgs[name].TRAINER.MMADAPTER.ADAPTER_SCALE for name in ALL] == [0.5, 0.5, 0.5]
    assert cfgs["alpha"].OPTIM.LR == 0.5 != cfgs["loreal"].OPTIM.LR


@pytest.mark.parametrize(
    "opts, error, text",
    [
        (
            ("loreal:TRAINER.MAPLE.N_CTX", "4"),
            ConfigError,
            "students .* TRAINER.MAPLE.N_CTX is 2 in stage 'alpha', 4",
        ),
        (
            ("beta:TRAINER.MAPLE.N_CTX", "4"),
            ConfigError,
            "TRAINER.MAPLE.N_CTX is 4 in stage 'beta', 2 in stage 3",
        ),
        (("loreal:INPUT.PIXEL_MEAN", "[0.1, 0.1, 0.1]"), ConfigError, "INPUT.PIXEL_MEAN is"),
        (
            ("TRAINER.LOREAL.PRESET", "authors"),
            ConfigError,
            "SLOT_ORDER slots_first is not possible",
        ),
        (
            ("TRAINER.LOREAL.N_CONTENT", "40"),
            ConfigError,
            "'airplane': its prompt with 2 slots takes 91 tokens",
        ),
        (("INPUT.TRANSFORMS", "['colorjitter']"), ConfigError, "colorjitter cannot be drawn once"),
        (
            ("loreal:DATALOADER.TRAIN_X.SAMPLER", "RandomClassSampler"),
            ConfigError,
            "SAMPLER RandomClassSampler",
        ),
        (("TRAINER.MAPLE.PREC", "fp8"), ConfigError, "PREC|refuses its configuration"),
        (
            ("TRAINER.LOREAL.ATTRIBUTE_SCOPE", "class"),
            AttributeFileError,
            "none for 'airplane', 'brain'",
        ),
    ],
)
def test_refused_before_anything_is_trained(
    place: Path, opts: tuple[str, ...], error: type[LorealError], text: str
) -> None:
    with pytest.raises(error, match=text):
        prepare(spec(place, *opts), say=lambda line: None)
    assert not (place / "out").exists()


def test_words_of_every_class_are_checked_for_base_and_new(place: Path) -> None:
    words = {name: ["color", "shape"] for name in ("airplane", "brain", "camera", "dalmatian")}
    scope = ("TRAINER.LOREAL.ATTRIBUTE_SCOPE", "class")
    write_words(place, ["color"], words | {"dalmatian": ["color", "&nbsp;"]})
    with pytest.raises(AttributeFileError, match="tokenises to nothing"):
        prepare(spec(place, *scope), say=lambda line: None)
    write_words(place, ["color"], {name: words[name] for name in ("airplane", "brain", "camera")})
    with pytest.raises(AttributeFileError, match="none for 'dalmatian'"):
        prepare(spec(place, *scope), say=lambda line: None)
    write_words(place, ["color"], words)
    engine = prepare(spec(place, *scope), say=lambda line: None)
    assert engine.identity.attributes_on("base") == [
        f"per class: {engine.identity.attribute_file().sha256}"
    ]


def test_generic_words_are_announced_and_a_folders_own_file_is_found(
    place: Path, monkeypatch: Any
) -> None:
    said: list[str] = []
    plain = spec(place, "TRAINER.LOREAL.ATTRIBUTES", "")
    prepare(plain, say=said.append)
    assert said == ["no attribute file for dataset 'pics': the generic words are used"]
    detach_host()
    from loreal_plugin.attributes import attribute_set as files

    (place / "attributes").mkdir()
    (place / "attributes" / "pics.json").write_text((place / "own.json").read_text())
    monkeypatch.setattr(files, "bundle_root", lambda: place)
    said.clear()
    assert (
        prepare(plain, say=said.append).identity.attributes_on("base") == ["color", "shape"]
        and said == []
    )


def test_a_broken_picture_leaves_the_data_folder_as_it_was(place: Path) -> None:
    victim = max((place / "data").rglob("*.png"))
    victim.write_bytes(victim.read_bytes()[:60])
    before = {path: path.stat().st_mtime_ns for path in (place / "data").rglob("*")}
    with pytest.raises(DataError, match=victim.name):
        prepare(spec(place), say=lambda line: None)
    assert {path: path.stat().st_mtime_ns for path in (place / "data").rglob("*")} == before
    victim.write_bytes(min((place / "data").rglob("*.png")).read_bytes())
    prepare(spec(place), say=lambda line: None)
    assert {p.name for p in (place / "data").rglob("*.json")} == {
        "split_loreal.json",
        "shot_2-seed_1.json",
    }


def test_weights_of_the_run_win_over_the_environment_and_are_put_back(
    place: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("CLIP_WEIGHTS", "demo-2")
    seen: list[str] = []
    monkeypatch.setattr(
        preparing, "check_run", lambda engine: seen.append(os.environ["CLIP_WEIGHTS"])
    )
    prepare(spec(place), say=lambda line: None)
    assert seen == [str(place / "tiny_clip.pt")] and os.environ["CLIP_WEIGHTS"] == "demo-2"
    monkeypatch.delenv("CLIP_WEIGHTS")
    with using_weights("demo"):
        assert os.environ["CLIP_WEIGHTS"] == "demo"
    assert "CLIP_WEIGHTS" not in os.environ


def test_record_of_a_stage_holds_what_it_was_made_of(place: Path, trained: Count) -> None:
    trained()
    folder = next((place / "out").rglob("MaPLe_LOREAL/phi32/*/seed1"))
    record = read_results(folder)
    assert record["attributes"] == ["color", "shape"] and record["parents"].keys() == {
        "alpha",
        "beta",
    }
