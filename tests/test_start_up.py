"""What starting the command line costs: help and wrong input must not wait for torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def test_a_heavy_import_would_be_seen():
    assert modules_after("import scipy") == {"scipy"}


def test_the_names_of_the_methods_are_told_without_torch():
    program = "from loreal_plugin.contract import CONTRACTS\nassert 'maple' in list(CONTRACTS)"
    assert modules_after(program) == set()
    assert list(CONTRACTS) == [row.method for row in CONTRACTS.values()]
