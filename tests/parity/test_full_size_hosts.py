"""ViT-B/16's size on every real host: the script's three stages and all tests at 96 and at 144,
real pictures.

`LOREAL_TEST_DATA` names a folder with `caltech-101/101_ObjectCategories` in it, of which a few
pictures are taken; without it drawn pictures lie in the same layout.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkouts import CHECKOUTS, DASSL, ROOT, checkout, environment, host_parser_reads, state_of
from helpers import random_clip_file, tiny_image_folder

from loreal_plugin.contract import CONTRACTS

pytestmark = [pytest.mark.hosts, pytest.mark.slow]
VIT_B16 = {
    "width": 768,
    "text_width": 512,
    "layers": 12,
    "text_layers": 12,
    "embed_dim": 512,
    "resolution": 224,
}
CLASSES = ("airplanes", "camera", "dalmatian", "ferry", "laptop", "pizza")  # three base, three new
PICTURES = 10
SIZES = ("96", "144")
ROWS = ["native", "native_at_phi", "phi", "loreal"]
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a file with random weights of ViT-B/16 in CLIP's layout (600 MB, removed afterwards)."""
    path = random_clip_file(tmp_path_factory.mktemp("vit"), "vit_b16_random.pt", **VIT_B16)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a DATA folder with a small Caltech-101."""
    root = tmp_path_factory.mktemp("data")
    pictures = root / "caltech-101" / "101_ObjectCategories"
    given = os.environ.get("LOREAL_TEST_DATA")
    if not given:
        print("pictures are drawn ones; LOREAL_TEST_DATA=FOLDER takes those of a real caltech-101")
        tiny_image_folder(pictures, classes=len(CLASSES), per_class=PICTURES)
        return root
    for name in CLASSES:
        found = sorted(
            (Path(given).expanduser() / "caltech-101/101_ObjectCategories" / name).glob("*.jpg")
        )
        assert len(found) >= PICTURES, f"{given} has no {PICTURES} pictures of {name}"
        (pictures / name).mkdir(parents=True)
        for path in found[:PICTURES]:
            shutil.copy(path, pictures / name)
    return root


@pytest.fixture
def setting(clip: Path, data: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Give the environment of a run but for HOST; its gigabytes are removed afterwards."""
    yield environment(
        DASSL=str(checkout(DASSL)),
        DATA=str(data),
        OUT=str(tmp_path / "out"),
        SHOTS="2",
        CLIP_WEIGHTS=str(clip),
        LOREAL_CACHE=str(tmp_path / "cache"),
        LOREAL_PYTHON=sys.executable,
    )
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("method", CHECKOUTS)
def test_script_runs_at_full_size(method: str, setting: dict[str, str], tmp_path: Path) -> None:
    folders = [checkout(CHECKOUTS[method]), checkout(DASSL)]
    before = [state_of(folder) for folder in folders]
    env = setting | {"HOST": str(folders[0])}
    # one epoch; the public recipes' fp16 is slow on a processor
    opts = [
        "OPTIM.MAX_EPOCH",
        "1",
        "DATALOADER.NUM_WORKERS",
        "0",
        f"TRAINER.{CONTRACTS[method].cfg_node}.PREC",
        "fp32",
    ]
    for size in SIZES:
        said = run_script(method, size, opts, env, tmp_path)
        print(said[said.index(f"\n{method}, phi {size}") :])
        assert ("reused from" in said) == (size != SIZES[0])  # stage 1 does not depend on phi
        check_record(method, int(size), Path(env["OUT"]))
        paths = compare_text_paths(method, size, opts, env, tmp_path)
        print(f"{method} at {size}, prefix against reference text path on the real host: {paths}")
        assert paths["difference"] <= TOLERANCE and paths["same"] == paths["pictures"] > 0
    check_host_parser(method, Path(env["OUT"]))
    assert [state_of(folder) for folder in folders] == before


def run_script(method: str, size: str, opts: list[str], env: dict[str, str], folder: Path) -> str:
    """Return what the script printed, run from an unrelated folder."""
    command = [
        "bash",
        str(ROOT / "scripts/loreal/base2new_train.sh"),
        method,
        size,
        "caltech101",
        "1",
        "--",
        *opts,
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def whole_records(out: Path) -> dict[int, dict[str, Any]]:
    """Return the records of whole runs by their low resolution."""
    records = [json.loads(path.read_text()) for path in out.rglob("results.json")]
    return {record["phi"]: record for record in records if len(record.get("rows", ())) == len(ROWS)}


def check_record(method: str, size: int, out: Path) -> None:
    record = whole_records(out)[size]
    assert record["host"]["name"] == CHECKOUTS[method] and record["native_size"] == 224
    assert [row["name"] for row in record["rows"]] == ROWS
    assert [(row["train_size"], row["test_size"]) for row in record["rows"]] == [
        *((224, 224), (224, size), (size, size), (size, size))
    ]
    for row in record["rows"]:
        assert row["parameters"] > 0 and row["base"]["total"] > 0 and row["new"]["total"] > 0


def compare_text_paths(
    method: str, size: str, opts: list[str], env: dict[str, str], folder: Path
) -> dict[str, Any]:
    command = [
        sys.executable,
        str(Path(__file__).with_name("text_paths.py")),
        method,
        size,
        "caltech101",
        *opts,
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.split("FOUND ")[1])


def check_host_parser(method: str, out: Path) -> None:
    """Compare what the host's own script reads with the records, for every kind of folder."""
    seen = set()
    for path in sorted(out.rglob("results.json")):
        record = json.loads(path.read_text())
        kind = (record["kind"], record["stage"], "score" in record)
        if kind in seen:
            continue
        seen.add(kind)
        score = record.get("score")
        read = host_parser_reads(method, path.parent.parent, *(["--test-log"] if score else []))
        assert read == pytest.approx(
            (score or record["base"])["accuracy"], abs=0.06
        )  # the hosts' logs round to 0.1
    assert len(seen) == 6  # training and evaluation of each stage
    print(
        f"{method}: its parse_test_res.py reads {len(seen)} kinds of folders as results.json says"
    )
