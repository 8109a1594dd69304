"""Sweeps of real trainings with a tiny random CLIP: killed at random points; with a failure."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import random_clip_file, tiny_image_folder
from python_at_once import python_at_once

from loreal_plugin.cli.main import main
from loreal_plugin.results.reader import collect, read_record
from loreal_plugin.results.record import RESULTS

ROOT = Path(__file__).resolve().parents[2]
KILLS = 1  # at another point each time; benchmarks/torture.py kills more often
LIMIT = 600.0


class Home:
    """Four classes, tiny weights, a plan of two seeds with a variant each, and its sweeps."""

    def __init__(self, root: Path) -> None:
        self.root = root
        tiny_image_folder(root / "data" / "pics", classes=4, per_class=6)
        variants = {
            "two epochs": {"OPTIM.MAX_EPOCH": 1, "loreal:OPTIM.MAX_EPOCH": 2},
            "cannot be": {"OPTIM.MAX_EPOCH": 1, "OPTIM.LRATE": 1},
        }
        plan = {
            "name": "tiny",
            "methods": ["coop"],
            "datasets": ["pics"],
            "phis": [32],
            "seeds": [1, 2],
            "shots": [2],
            "weights": str(random_clip_file(root)),
            "recipes": "demo",
            "variants": variants,
        }
        (root / "plan.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))

    def words(self, out: str, jobs: int) -> list[str]:
        """Return what stands behind `loreal`."""
        return ["sweep", "plan.yaml", "--jobs", str(jobs), "--out", out, "--data", "data"]

    def environment(self) -> dict[str, str]:
        """Return the environment of the sweep's processes."""
        kept = {
            k: v
            for k, v in os.environ.items()
            if k not in ("HOST", "OUT", "SHOTS", "CLIP_WEIGHTS", "RECIPE")
        }
        return kept | {
            "PYTHONPATH": str(ROOT),
            "LOREAL_CACHE": str(self.root / "cache"),
            "OMP_NUM_THREADS": "1",
        }

    def start(self, out: str, jobs: int = 2) -> subprocess.Popen[str]:
        """Start the sweep."""
        words = [python_at_once(), "-m", "loreal_plugin", *self.words(out, jobs)]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(words, cwd=self.root, env=self.environment(), text=True, **pipes)

    def finish(self, out: str, jobs: int = 2) -> tuple[int, str, str]:
        """Run the sweep to its end."""
        process = self.start(out, jobs)
        printed, error = process.communicate(timeout=LIMIT)
        return process.returncode, printed, error


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def whole(home: Home) -> tuple[int, str, str]:
    """Give what an undisturbed sweep printed."""
    return home.finish("whole")


def facts(out: Path) -> dict[str, Any]:
    """Return what two sweeps must agree in: keys, rows, counts, answers; no times."""
    found = {}
    for path in out.rglob(RESULTS):
        record, fault = read_record(path)
        assert not fault, f"{path} {fault}"
        if record["kind"] != "sweep":
            rows = [
                {k: v for k, v in row.items() if k != "seconds"} for row in record.get("rows", [])
            ]
            found[str(path.relative_to(out))] = (
                record["key"],
                record.get("score"),
                record.get("base"),
                rows,
            )
    return found


def size(out: Path) -> int:
    return sum(1 for _ in out.rglob("*"))


def test_one_failing_variant_leaves_the_others_done(
    home: Home, whole: tuple[int, str, str]
) -> None:
    code, printed, error = whole
    lines = [line for line in printed.splitlines() if line.startswith("[")]
    assert code == 1, error
    assert sum("[two epochs]: host " in line for line in lines) == 2, printed
    failed = [line for line in lines if "[cannot be]: FAILED" in line]
    assert len(failed) == 2 and all("did you mean 'OPTIM.LR'?" in line for line in failed), printed
    report = (home.root / "whole" / "report" / "report.md").read_text()
    assert "CoOp_LOREAL" not in report and "| coop | + LOREAL, tested at 32 |" in report
    assert report.count("OPTIM.LRATE 1`: failed: unknown key 'OPTIM.LRATE'") == 2
    assert (home.root / "whole" / "report" / "report.html").is_file()


def test_results_carry_the_answers_that_paired_tests_need(
    home: Home, whole: tuple[int, str, str]
) -> None:
    results = collect(home.root / "whole").results
    assert {r.row for r in results} == {"native", "native_at_phi", "phi", "loreal"}
    assert all(score.hits for result in results for score in result.scores.values())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_sweep_killed_at_random_points_ends_like_an_undisturbed_one(
    home: Home, whole: tuple[int, str, str]
) -> None:
    seed = int(os.environ.get("LOREAL_KILL_SEED") or time.time_ns() % 100_000)
    out, full = home.root / "killed", size(home.root / "whole")
    points = sorted(random.Random(seed).sample(range(8, full - 12), KILLS))
    print(f"LOREAL_KILL_SEED={seed}: killed when {points} of {full} files are there")
    for point in points:
        process, limit = home.start("killed"), time.monotonic() + LIMIT
        while size(out) < point and process.poll() is None:
            assert time.monotonic() < limit, "never came so far"
            time.sleep(0.005)
        process.kill()
        process.communicate(timeout=60)
    code, printed, error = home.finish("killed", jobs=1)  # the order of runs changes nothing
    assert code == 1, error
    assert facts(out) == facts(home.root / "whole")
    assert not [p for p in out.rglob("*") if ".replaced" in p.name], "nothing was given up"
    assert "2 runs done, 2 failed" in printed


def test_a_finished_sweep_is_asked_again_and_trains_nothing(
    home: Home,
    whole: tuple[int, str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = home.root / "whole"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("model*")}
    environment = home.environment()
    for name in os.environ.keys() - environment:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(home.root)
    code = main(home.words("whole", jobs=1))  # in this process, there is little to do
    printed = capsys.readouterr().out
    assert code == 1 and "2 are there, 2 to make" in printed
    assert before and {path: path.stat().st_mtime_ns for path in out.rglob("model*")} == before
