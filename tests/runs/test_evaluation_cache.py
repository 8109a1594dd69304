"""Kept embeddings of test pictures: the bits of a test on pictures, bounded, off when asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import random_clip_file, tiny_image_folder
from made_runs import facts
from world import assert_same_checkpoints

from loreal_plugin.attach import detach_host
from loreal_plugin.cli.main import main
from loreal_plugin.errors import ConfigError
from loreal_plugin.files import write_json
from loreal_plugin.files.caches import prune
from loreal_plugin.results.record import RESULTS, read_results
from loreal_plugin.runs import engine, evaluation_cache
from loreal_plugin.runs.run import final_test

Heard = list[tuple[bool, torch.Tensor]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give six classes and weights; seven test pictures do not divide into batches."""
    root = tmp_path_factory.mktemp("kept")
    tiny_image_folder(root / "data" / "pics", classes=6, per_class=8)
    random_clip_file(root)
    return root


@pytest.fixture
def listen(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Heard]]:
    """Give a function that makes a run and returns, for every batch tested, whether it was read
    from what was kept, and its logits."""
    given = {
        "DATA": home / "data",
        "SHOTS": "2",
        "RECIPE": "demo",
        "CLIP_WEIGHTS": home / "tiny_clip.pt",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("HOST", raising=False)
    heard: Heard = []
    reading = [False]
    original, on_kept = engine.record_answers, evaluation_cache._CachedTest._on_embeddings

    def listening(trainer: Any) -> list[tuple[int, int]]:
        process = trainer.evaluator.process

        def take(output: torch.Tensor, labels: torch.Tensor) -> None:
            heard.append((reading[0], output.clone()))
            process(output, labels)

        trainer.evaluator.process = take
        return original(trainer)

    def reads(self: Any, features: torch.Tensor) -> None:
        reading[0] = True
        on_kept(self, features)
        reading[0] = False

    monkeypatch.setattr(engine, "record_answers", listening)
    monkeypatch.setattr(evaluation_cache._CachedTest, "_on_embeddings", reads)

    def run(method: str, out: str, cache: str, megabytes: str = "") -> Heard:
        monkeypatch.setenv("OUT", str(home / out))
        monkeypatch.setenv("LOREAL_CACHE", str(home / cache))
        monkeypatch.setenv(evaluation_cache.VARIABLE, megabytes)
        heard.clear()
        words = ("OPTIM.MAX_EPOCH", "1", "DATALOADER.TEST.BATCH_SIZE", "4")
        assert main(["base2new", method, "32", "pics", "1", "--", *words]) == 0
        return list(heard)

    detach_host()
    yield run
    detach_host()


# One feature a picture and two; what differs between the others is before or behind an embedding.
@pytest.mark.parametrize("method", ["coop", "mmrl"])
def test_kept_embeddings_give_the_same_bits_and_seeds_reproduce_every_stage(
    listen: Callable[..., Heard], home: Path, method: str
) -> None:
    plain = listen(method, f"plain-{method}", "cache-plain", "0")
    assert len(plain) == 16 and not any(
        read for read, _ in plain
    )  # 4 rows, 2 halves of 6 pictures, batches of 4
    assert not (home / "cache-plain" / "test_embeddings").exists()
    first = listen(method, f"first-{method}", "cache")
    assert sum(read for read, _ in first) >= 4, (
        "LOREAL's tests share beta's embeddings with the host trained at phi"
    )
    second = listen(method, f"second-{method}", "cache")
    assert all(read for read, _ in second), (
        "another output folder trains again and finds the same encoders"
    )
    tests = [read_results(path.parent) for path in (home / f"second-{method}").rglob(RESULTS)]
    assert all(test["kept_embeddings"] and test["kept_seconds"] > 0 for test in tests)
    assert_same_checkpoints(home / f"plain-{method}", home / f"second-{method}", learners=3)
    for (_, a), (_, b), (_, c) in zip(plain, first, second, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)
    records = [
        read_results(
            next(
                (home / f"{name}-{method}" / "base2new").rglob(f"*_LOREAL/phi32/*/seed1/{RESULTS}")
            ).parent
        )
        for name in ("plain", "second")
    ]
    assert records[0]["rows"] == [
        row | {"seconds": old["seconds"]}
        for row, old in zip(records[1]["rows"], records[0]["rows"], strict=True)
    ]


def test_another_checkpoint_reads_nothing_of_this_one(
    listen: Callable[..., Heard], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen("coop", "first-coop", "cache")
    before = set((home / "cache" / "test_embeddings").glob("*.json"))
    monkeypatch.setenv("SHOTS", "1")
    listen("maple", "one", "cache")
    assert len(set((home / "cache" / "test_embeddings").glob("*.json"))) > len(before)


def test_a_test_that_is_asked_for_again_sees_pictures(
    listen: Callable[..., Heard], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen("coop", "first-coop", "cache")
    seen: list[str] = []
    monkeypatch.setattr(engine, "reuse_test_embeddings", lambda *_: seen.append("kept") or [])
    assert (
        main(
            [
                "base2new",
                "coop",
                "32",
                "pics",
                "1",
                "--test-only",
                "--",
                "OPTIM.MAX_EPOCH",
                "1",
                "DATALOADER.TEST.BATCH_SIZE",
                "4",
            ]
        )
        == 0
    )
    assert seen == []
    tests = [
        read_results(path.parent)
        for path in (home / "first-coop" / "base2new").glob(f"test_*/**/{RESULTS}")
    ]
    assert len(tests) == 8 and not any(
        test["kept_embeddings"] or test["kept_seconds"] for test in tests
    )


def test_strangers_are_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(evaluation_cache.VARIABLE, raising=False)

    def test(split: str | None = None) -> float:
        return 1.0

    loader = SimpleNamespace(sampler=torch.utils.data.SequentialSampler([1]))
    trainer = SimpleNamespace(test=test, test_loader=loader)
    evaluation_cache.reuse_test_embeddings(
        trainer, SimpleNamespace(path=tmp_path), "weights", lambda: "pictures"
    )
    assert trainer.test is test


def test_the_folder_stays_within_its_bound(tmp_path: Path) -> None:
    for age, name in enumerate("abc"):
        array = tmp_path / f"{name}.safetensors"
        array.write_bytes(b"0" * 2**20)
        array.with_suffix(".json").write_text("{}")
        os.utime(array, (age, age))
    prune(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "b.json",
        "b.safetensors",
        "c.json",
        "c.safetensors",
    ]
    prune(tmp_path, 1, keep={"b"})
    assert {path.stem for path in tmp_path.iterdir()} == {"b"}
    prune(tmp_path, 0, keep={"b"})
    assert {path.stem for path in tmp_path.iterdir()} == {"b"}


def test_a_bound_that_is_no_number_is_refused() -> None:
    assert (
        evaluation_cache.cache_limit_mb({}) == evaluation_cache.DEFAULT_MB
        and evaluation_cache.cache_limit_mb({evaluation_cache.VARIABLE: "0"}) == 0
    )
    with pytest.raises(ConfigError, match="LOREAL_TEST_CACHE must be a whole number of MB"):
        evaluation_cache.cache_limit_mb({evaluation_cache.VARIABLE: "-3"})


def test_a_later_test_with_answers_stands_for_a_final_test_without(tmp_path: Path) -> None:
    engine_ = SimpleNamespace(
        identity=SimpleNamespace(inference=lambda _: None), plan=SimpleNamespace(source="base")
    )
    row = SimpleNamespace(name="phi", stage="beta", folders={"base": tmp_path})
    told = {"hits": "a0", "mistaken": "1 0"}
    old, new = {"base": {"accuracy": 50.0}}, {"base": {"accuracy": 50.0, **told}}
    assert (
        final_test(engine_, row, old) == old["base"]
        and final_test(engine_, row, new) == new["base"]
    )
    write_json(tmp_path / RESULTS, facts("maple", 32, 1, kind="evaluation", score=new["base"]))
    assert final_test(engine_, row, old) is None and final_test(engine_, row, new) == new["base"]
