"""The embedded host's dassl against a checkout of the real one, in a process each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dataset_helpers import EMBEDDED
from helpers import tiny_image_folder

pytestmark = pytest.mark.hosts


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give what our dassl and the real one compute."""
    pictures = tiny_image_folder(
        tmp_path_factory.mktemp("pictures") / "p", classes=3, per_class=5, size=40
    )
    probe = Path(__file__).with_name("dassl_probe.py")
    answers = []
    for folder in (EMBEDDED, Path(os.environ["LOREAL_TEST_HOSTS"]) / "Dassl.pytorch"):
        command = [sys.executable, str(probe), str(folder), str(pictures)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        answers.append(json.loads(done.stdout))
    return answers[0], answers[1]


def test_configuration_is_the_same_in_keys_order_and_values(found: tuple[dict, dict]) -> None:
    ours, theirs = found
    assert list(ours["config"].items()) == list(theirs["config"].items())


@pytest.mark.parametrize("schedule", ["cosine", "linear", "no recount", "plain"])
def test_rates_are_the_same(schedule: str, found: tuple[dict, dict]) -> None:
    ours, theirs = found
    assert ours[schedule] == theirs[schedule]


def test_same_pictures_in_the_same_order_with_the_same_augmentation(
    found: tuple[dict, dict],
) -> None:
    ours, theirs = (answer["data"] for answer in found)
    for part in ("train", "order", "keys", "pixels"):
        assert ours[part] == theirs[part], part


def test_same_lines_are_printed(found: tuple[dict, dict]) -> None:
    ours, theirs = (answer["data"]["said"] for answer in found)
    assert ours == theirs


def test_same_results(found: tuple[dict, dict]) -> None:
    ours, theirs = (answer["evaluation"] for answer in found)
    assert list(ours) == list(theirs) and ours == pytest.approx(theirs)
