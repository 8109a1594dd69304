"""What starting the command line costs: help and wrong input must not wait for torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from loreal_plugin.contract import CONTRACTS

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "torchvision", "scipy", "matplotlib", "sklearn")


def modules_after(program: str) -> set[str]:
    """Return the heavy packages that are imported when a program has run."""
    program += f"\nimport sys\nprint(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_help_of_every_command_imports_nothing_heavy():
    program = "from loreal_plugin.cli.main import build_parser\nbuild_parser()"
    assert modules_after(program) == set()


def test_a_run_that_is_refused_early_imports_nothing_heavy():
    program = "from loreal_plugin.cli import main\nassert main(['base2new', 'maple', 'low']) == 2"
    assert modules_after(program) == set()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["base2new", "mapel", "96"], "unknown method 'mapel'; did you mean 'maple'?"),
        (["train", "--trainer", "MaPel_LOREAL"], "'MaPel_LOREAL'; did you mean 'MaPLe_LOREAL'?"),
        (["train", "--trainer", "CoOpp"], "unknown trainer 'CoOpp'; did you mean 'CoOp'?"),
        (["train"], "--trainer is missing"),
    ],
)
def test_a_wrong_method_or_trainer_is_told_without_torch(words: list[str], said: str):
    program = f"""
import contextlib, io
from loreal_plugin.cli import main
with contextlib.redirect_stderr(io.StringIO()) as told:
    assert main({words!r}) == 2
assert {said!r} in told.getvalue(), told.getvalue()"""
    assert modules_after(program) == set()


def test_a_heavy_import_would_be_seen():
    assert modules_after("import scipy") == {"scipy"}


def test_the_names_of_the_methods_are_told_without_torch():
    program = "from loreal_plugin.contract import CONTRACTS\nassert 'maple' in list(CONTRACTS)"
    assert modules_after(program) == set()
    assert list(CONTRACTS) == [row.method for row in CONTRACTS.values()]
