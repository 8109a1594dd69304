"""Our loaders against those of a public checkout, on the same data folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dataset_helpers import build, rows
from miniatures import MINIATURES, write_classes

pytestmark = pytest.mark.hosts
# ImageNetV2's public loader wants all 1000 folders.
COMPARED = [name for name in MINIATURES if name != "ImageNetV2"]
SETTINGS = {"shots": 2, "seed": 3, "subsample": "new"}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, tuple[dict, dict]]:
    """Give what our loader and CoOp's find, by dataset; ours comes first and saves the splits."""
    root = tmp_path_factory.mktemp("data")
    write_classes(root / "mine", ["cat", "cow", "dog"], 10)
    for name in COMPARED:
        MINIATURES[name](root)
    ours = {}
    for name in (*COMPARED, "Folder"):
        dataset = build(name, root, folder="mine", **SETTINGS)
        parts = {"train": dataset.train_x, "val": dataset.val or [], "test": dataset.test}
        ours[name] = {part: rows(items) for part, items in parts.items()}
        ours[name]["classnames"] = list(dataset.classnames)
    hosts = Path(os.environ["LOREAL_TEST_HOSTS"])
    words = [hosts / "CoOp", hosts / "Dassl.pytorch", root, *SETTINGS.values(), *ours]
    command = [sys.executable, str(Path(__file__).with_name("public_loader.py")), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = json.loads(done.stdout)
    return {name: (ours[name], theirs[name]) for name in ours}


@pytest.mark.parametrize("name", (*COMPARED, "Folder"))
def test_public_checkout_finds_the_same(name, found):
    ours, theirs = found[name]
    assert ours["classnames"] == theirs["classnames"]
    for part in ("train", "val", "test"):
        expected = [tuple(row) for row in theirs[part]]
        if name.startswith("ImageNet"):  # listed in the file system's order there
            assert sorted(row[1:] for row in ours[part]) == sorted(row[1:] for row in expected)
        else:
            assert ours[part] == expected
