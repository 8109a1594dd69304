"""The whole protocol on each real host, and their trainers on the embedded `dassl`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from checkouts import CHECKOUTS, DASSL, EMBEDDED, checkout, environment, host_parser_reads, state_of
from helpers import random_clip_file, tiny_image_folder

pytestmark = pytest.mark.hosts
# for a CLIP of two layers; precision as published: fp16 for the first two, amp for the others
RECIPES = {
    "coop": [],
    "maple": ["TRAINER.MAPLE.PROMPT_DEPTH", "2"],
    "mma": ["TRAINER.MMADAPTER.ADAPTER_START", "1", "TRAINER.MMADAPTER.ADAPTER_END", "2"],
    "mmrl": ["TRAINER.MMRL.REP_LAYERS", "[1, 2]", "TRAINER.MMRL.REP_DIM", "32"],
}
ALL_ROWS = ["native", "native_at_phi", "phi", "loreal", "adapted"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a DATA folder with `pets`, a folder per class."""
    root = tmp_path_factory.mktemp("data")
    tiny_image_folder(root / "pets", classes=4, per_class=6)
    return root


def run_protocol(method: str, dassl: Path, pictures: Path, folder: Path, *words: str) -> str:
    """Run base-to-new on a checkout from an unrelated folder; return what it printed."""
    clip = random_clip_file(folder, layers=2, text_layers=2, resolution=64)
    env = environment(
        HOST=str(checkout(CHECKOUTS[method])),
        DASSL=str(dassl),
        DATA=str(pictures),
        OUT=str(folder / "out"),
        SHOTS="2",
        CLIP_WEIGHTS=str(clip),
        LOREAL_CACHE=str(folder / "cache"),
        UNTIL="adapted",  # the adapted image side, too
    )
    short = ["OPTIM.MAX_EPOCH", "1", "DATALOADER.NUM_WORKERS", "0"]
    short += ["TRAINER.LOREAL.ADAPT_VIEWS", "2", "TRAINER.LOREAL.ADAPT_EPOCHS", "2"]
    command = [
        sys.executable,
        "-m",
        "loreal_plugin",
        "base2new",
        method,
        "32",
        "pets",
        "1",
        *words,
        "--",
    ]
    done = subprocess.run(
        [*command, *short, *RECIPES[method]], capture_output=True, text=True, cwd=folder, env=env
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("method", CHECKOUTS)
def test_protocol_runs_on_an_untouched_checkout(
    method: str, pictures: Path, tmp_path: Path
) -> None:
    folders = [checkout(CHECKOUTS[method]), checkout(DASSL)]
    before = [state_of(folder) for folder in folders]
    said = run_protocol(method, folders[1], pictures, tmp_path)
    assert [state_of(folder) for folder in folders] == before
    assert "+ LOREAL, tested at 32" in said and "HM" in said
    records = [json.loads(path.read_text()) for path in (tmp_path / "out").rglob("results.json")]
    (whole,) = [record for record in records if len(record.get("rows", ())) == len(ALL_ROWS)]
    assert [row["name"] for row in whole["rows"]] == ALL_ROWS
    assert whole["host"]["name"] == CHECKOUTS[method] and "warmup" in whole["host"]["shims"]
    assert whole["stages"]["adapt"]["parameters"] > 0
    for row in whole["rows"]:
        assert row["base"]["total"] > 0 and row["new"]["total"] > 0
    check_host_parser(method, tmp_path / "out")


def check_host_parser(method: str, out: Path) -> None:
    """Compare what the host's script reads with `results.json`, for training and evaluation."""
    found = {path: json.loads(path.read_text()) for path in out.rglob("results.json")}
    # the adapted image side is no training of the host, and its student repeats stage 3
    ours = ("adapt", "adapted")
    found = {path: record for path, record in found.items() if record["stage"] not in ours}
    assert (
        len(found) == 9
    )  # three trainings, their tests on new classes, stage 1 tested at phi on both halves, the run
    for path, record in found.items():
        score, ours = record.get("score"), record["stage"] == "loreal"
        if bool(score) != ours:
            continue  # the host's training and our evaluation: the two kinds of log
        read = host_parser_reads(method, path.parent.parent, *(["--test-log"] if score else []))
        expected = (score or record["base"])["accuracy"]
        assert read == pytest.approx(expected, abs=0.06)  # the hosts' logs round to 0.1


@pytest.mark.parametrize("method", CHECKOUTS)
def test_trainer_of_a_checkout_runs_on_the_embedded_dassl(
    method: str, pictures: Path, tmp_path: Path
) -> None:
    before = state_of(checkout(CHECKOUTS[method]))
    said = run_protocol(method, EMBEDDED, pictures, tmp_path, "--until", "alpha")
    assert state_of(checkout(CHECKOUTS[method])) == before
    (path,) = [
        path for path in (tmp_path / "out").rglob("results.json") if "train_base" in path.parts
    ]
    record = json.loads(path.read_text())
    assert record["host"]["name"] == CHECKOUTS[method] and "warmup" not in record["host"]["shims"]
    assert record["base"]["total"] > 0 and "trained and tested at 64" in said
