"""`demo` and a folder per class on every real host, demonstration weights, whole protocol."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from checkouts import CHECKOUTS, DASSL, checkout, environment, state_of
from helpers import tiny_image_folder

pytestmark = [pytest.mark.hosts, pytest.mark.slow]
ROWS = ["native", "native_at_phi", "phi", "loreal"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with pictures of four classes, and room for the demonstration's own."""
    root = tmp_path_factory.mktemp("demo")
    tiny_image_folder(root / "data" / "pets", classes=4, per_class=6)
    return root


@pytest.mark.parametrize("dataset", ["demo", "pets"])
@pytest.mark.parametrize("method", CHECKOUTS)
def test_demo_weights_run_on_an_untouched_checkout(
    method: str, dataset: str, home: Path, tmp_path: Path
) -> None:
    folders = [checkout(CHECKOUTS[method]), checkout(DASSL)]
    before = [state_of(folder) for folder in folders]
    env = environment(
        HOST=str(folders[0]),
        DASSL=str(folders[1]),
        OUT=str(tmp_path / "out"),
        SHOTS="1",
        CLIP_WEIGHTS="demo",
        LOREAL_CACHE=str(home / "cache"),
        **({} if dataset == "demo" else {"DATA": str(home / "data")}),
    )
    command = [sys.executable, "-m", "loreal_plugin", "base2new", method, "96", dataset, "1"]
    command += ["--", "OPTIM.MAX_EPOCH", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [state_of(folder) for folder in folders] == before
    print(done.stdout[done.stdout.index(f"\n{method}, phi 96") :])
    records = [json.loads(path.read_text()) for path in (tmp_path / "out").rglob("results.json")]
    (whole,) = [record for record in records if len(record.get("rows", ())) == len(ROWS)]
    assert [row["name"] for row in whole["rows"]] == ROWS and whole["weights"]["name"] == "demo"
    assert whole["host"]["name"] == CHECKOUTS[method]
    for row in whole["rows"]:
        assert row["base"]["total"] > 0 and row["new"]["total"] > 0
