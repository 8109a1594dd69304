"""Wrong input: one line on stderr, exit code 2, nothing written."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers import random_clip_file, tiny_image_folder

from loreal_plugin.attach import detach_host
from loreal_plugin.cli.main import disk_full, main
from loreal_plugin.errors import ConfigError, DataError, one_line

ROOT = Path(__file__).resolve().parents[2]


class Place(NamedTuple):
    """Four classes, weights at 64 pixels with patches of 16, and where results would go."""

    data: Path
    weights: Path
    out: Path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("bad-input")
    tiny_image_folder(root / "data" / "pics", classes=4, per_class=4)
    return root / "data", random_clip_file(root)


@pytest.fixture
def place(
    shared: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    for name in ("DATA", "HOST", "OUT", "SHOTS", "RECIPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLIP_WEIGHTS", str(shared[1]))
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path / "cache"))
    detach_host()
    yield Place(*shared, tmp_path / "out")
    detach_host()


Refused = Callable[..., str]


@pytest.fixture
def refused(place: Place, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Give a function that runs `loreal base2new`, which must refuse, and returns the line."""

    def run(*words: str, data: Path | None = None) -> str:
        options = [
            "--out",
            str(place.out),
            "--data",
            str(data or place.data),
            "--recipe",
            "demo",
            "--shots",
            "2",
        ]
        code = main(["base2new", *options, *words])
        lines = capsys.readouterr().err.strip().splitlines()
        assert (code, len(lines)) == (2, 1), lines
        assert lines[0].startswith("error: ") and "Traceback" not in lines[0]
        assert not place.out.exists(), "something was written"
        return lines[0]

    return run


@pytest.mark.parametrize(
    "words, text",
    [
        (("mapel", "32", "pics"), "unknown method 'mapel'; did you mean 'maple'?"),
        (("maple", "33", "pics"), "must be a multiple of the patch size 16"),
        (("maple", "16", "pics"), "at least 32"),
        (("maple", "many", "pics"), "PHI must be a whole number"),
        (("maple", "32", "picks"), "unknown dataset 'picks'"),
        (("maple", "32", "dtb"), "did you mean 'dtd'"),
        (("maple", "32", "pics", "first"), "SEED must be a whole number"),
        (("maple", "32", "pics", "1", "more"), "unknown argument 'more'"),
        (("maple", "32", "pics", "--faster"), "unknown argument '--faster'"),
        (("maple", "32", "pics", "--", "OPTIM.LR"), "'OPTIM.LR' has no value"),
        (("maple", "32", "pics", "--", "OPTIM.RL", "1"), "did you mean 'OPTIM.LR'"),
        (
            ("maple", "32", "pics", "--", "OPTIM.LR", "fast"),
            "overrides of stage 'alpha' were refused",
        ),
        (("maple", "32", "pics", "--", "TRAINER.LOREAL.BRIDGE", "iron"), "is none of cross, self"),
        (("maple", "32", "pics", "--", "TRAINER.LOREAL.ENABLED", "False"), "is the host alone"),
        (("maple", "32", "pics", "--", "TRAINER.LOREAL.N_ATTRIBUTES", "99"), "asks for 99"),
        (
            ("maple", "32", "pics", "--", "TRAINER.LOREAL.ATTRIBUTES", "missing.json"),
            "missing.json does not exist",
        ),
        (
            ("maple", "32", "pics", "--", "TRAINER.MAPLE.PROMPT_DEPTH", "9"),
            "PROMPT_DEPTH names layer 9, but a tower",
        ),
        (
            ("mma", "32", "pics", "--", "TRAINER.MMADAPTER.ADAPTER_END", "12"),
            "ADAPTER_END names layer 12, but a tower",
        ),
        (
            ("mmrl", "32", "pics", "--", "TRAINER.MMRL.REP_LAYERS", "[2, 4]"),
            "REP_LAYERS names layer 4, but a tower",
        ),
    ],
)
def test_wrong_words(refused: Refused, words: tuple[str, ...], text: str) -> None:
    assert text in refused(*words)


@pytest.mark.parametrize(
    "content, text",
    [
        ("{", "cannot be read"),
        ('{"schema_version": 1, "attributes": []}', "no list of words, or empty"),
        ('{"schema_version": 1, "attributes": ["color", "&nbsp;"]}', "tokenises to nothing"),
    ],
)
def test_wrong_attribute_files(refused: Refused, tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "own.json"
    path.write_text(content)
    words = (
        "maple",
        "32",
        "pics",
        "--",
        "TRAINER.LOREAL.ATTRIBUTES",
        str(path),
        "TRAINER.LOREAL.N_ATTRIBUTES",
        "2",
    )
    assert text in refused(*words)


def test_wrong_environment(refused: Refused, tmp_path: Path) -> None:
    assert "is no folder" in refused("maple", "32", "pics", data=tmp_path / "nowhere")
    assert "has no train.py" in refused("maple", "32", "pics", "--host", str(tmp_path))
    (tmp_path / "half" / "trainers").mkdir(parents=True)
    said = refused("maple", "32", "pics", "--host", str(tmp_path / "half"))
    for part in (
        "train.py: setup_cfg",
        "package datasets",
        "trainers/maple.py: MaPLe",
        "methods found there: none",
    ):
        assert part in said
    assert "SHOTS must be a whole number" in refused("maple", "32", "pics", "--shots", "few")
    assert "did you mean 'demo'" in refused("maple", "32", "pics", "--recipe", "dmo")


def test_weights_that_are_missing_or_truncated(
    refused: Refused, place: Place, tmp_path: Path
) -> None:
    assert str(tmp_path / "none.pt") in refused(
        "maple", "32", "pics", "--weights", str(tmp_path / "none.pt")
    )
    short = tmp_path / "short.pt"
    short.write_bytes(place.weights.read_bytes()[:100_000])
    assert "short.pt" in refused("maple", "32", "pics", "--weights", str(short))


def test_a_broken_picture_is_named(refused: Refused, tmp_path: Path) -> None:
    tiny_image_folder(tmp_path / "data" / "pics", classes=4, per_class=4)
    victims = sorted((tmp_path / "data" / "pics").rglob("*.png"))
    for victim in victims:
        victim.write_bytes(victim.read_bytes()[:60])
    line = refused("maple", "32", "pics", data=tmp_path / "data")
    assert str(victims[0].parent.parent) in line and "cannot be read" in line


@pytest.mark.parametrize("name", ["base2new_train.sh", "base2new_test.sh"])
def test_scripts_pass_the_line_and_the_exit_code_on(
    place: Place, python_env: dict[str, str], name: str
) -> None:
    script = ROOT / "scripts" / "loreal" / name
    done = subprocess.run(
        ["bash", str(script), "mapel", "96"],
        env=python_env,
        capture_output=True,
        text=True,
        cwd=place.data,
    )
    assert done.returncode == 2 and done.stdout == ""
    known = "cocoop, coop, ivlp, maple, mma, mmrl"
    assert (
        done.stderr.strip()
        == f"error: unknown method 'mapel'; did you mean 'maple'? (known: {known})"
    )
    alone = subprocess.run(
        ["bash", str(script), "maple"], env=python_env, capture_output=True, text=True
    )
    assert alone.returncode == 2 and alone.stderr.startswith(f"error: usage: {name} METHOD PHI")


@pytest.mark.parametrize(
    "words, text",
    [
        (("coop", "33", "pics"), "must be a multiple of the patch size 16"),
        (("coop", "32", "picks"), "unknown dataset 'picks'"),
        (("coop", "32", "pics", "one"), "SEED must be a whole number"),
        (
            ("coop", "32", "pics", "1", "--", "TEST.SPLIT", "val"),
            "'TEST.SPLIT' cannot be overridden",
        ),
        (
            ("coop", "32", "pics", "1", "--", "TEST.FINAL_MODEL", "best_val"),
            "'TEST.FINAL_MODEL' cannot be overridden",
        ),
        (("coop", "32", "pics"), "nothing to test: stage 1 (CoOp at 64)"),
    ],
)
def test_testing_refuses_what_training_refuses(
    refused: Refused, words: tuple[str, ...], text: str
) -> None:
    assert text in refused("--test-only", *words)


def test_rivals_need_stage_1(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "rivals",
        "coop",
        "32",
        "pics",
        "--data",
        str(place.data),
        "--out",
        str(place.out),
        "--recipe",
        "demo",
    )
    assert main([*words, "--shots", "2"]) == 2
    assert "stage 1 (CoOp at 64) is not in" in capsys.readouterr().err and not place.out.exists()


def test_targets_of_rivals_belong_to_protocols_that_have_some(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["rivals", "coop", "32", "pics", "--targets", "other"]) == 2
    assert "--targets goes with --protocol xd or dg" in capsys.readouterr().err


def test_a_worker_report_becomes_its_last_line() -> None:
    report = DataError(
        "Caught DataError in DataLoader worker process 0.\nOriginal Traceback (most recent call"
        " last):\n  File x\nloreal_plugin.errors.DataError: picture 'a.png' cannot be read"
    )
    assert one_line(report) == "picture 'a.png' cannot be read"
    assert one_line(ConfigError("two\nlines")) == "two lines"


def test_a_full_disk_is_recognised_as_python_and_torch_report_it(
    monkeypatch: Any, capsys: Any
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model.pth.tar-1")
    assert disk_full(full)
    assert disk_full(
        RuntimeError(
            "[enforce fail at inline_container.cc] . PytorchStreamWriter failed writing file"
        )
    )
    assert not disk_full(RuntimeError("size mismatch")) and not disk_full(
        OSError(errno.ENOENT, "no file")
    )

    def run(args: Any) -> int:
        raise full

    monkeypatch.setattr("loreal_plugin.cli.table.run", run)
    assert main(["table", "x"]) == 2
    assert (
        "disk full: [Errno 28] No space left on device: 'model.pth.tar-1'; free some"
        in capsys.readouterr().err
    )


def test_table_and_results_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results.json").write_text(json.dumps({"schema_version": 1}))
    assert main(["table", str(tmp_path)]) == 2 and "no finished run in" in capsys.readouterr().err
    assert (
        main(["results", str(tmp_path)]) == 2 and "no finished run below" in capsys.readouterr().err
    )


def test_unknown_commands_and_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["base2now"]) == 2 and "did you mean 'base2new'" in capsys.readouterr().err
    assert main(["table", "x", "y"]) == 2 and "unknown argument 'y'" in capsys.readouterr().err
    assert main(["train", "--trainer", "Maple_LOREAL"]) == 2
    assert "did you mean 'MaPLe_LOREAL'" in capsys.readouterr().err
