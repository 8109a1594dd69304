"""Setuptools 82 has no `pkg_resources`: hosts are attached without it, and nobody is downgraded."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path

from fake_host import write_host
from python_at_once import python_at_once

ROOT = Path(__file__).resolve().parents[2]
# blocks the module as an environment without it would
PROGRAM = """
import sys
sys.modules["pkg_resources"] = None
from loreal_plugin.attach import attach_host
from loreal_plugin.paths import embedded_host
host = attach_host(sys.argv[1] if len(sys.argv) > 1 else embedded_host(), "coop")
assert sys.modules["pkg_resources"] is None, "put back"
print(sys.modules["clip.clip"].packaging.__name__)
"""


def attached(cwd: Path, *words: str) -> str:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [python_at_once(), "-c", PROGRAM, *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def test_hosts_are_attached_where_there_is_no_pkg_resources(tmp_path):
    host = write_host(tmp_path)
    clip = host / "clip" / "clip.py"
    clip.write_text("from pkg_resources import packaging\n" + clip.read_text())
    assert attached(tmp_path, str(host)) == "packaging"


def test_requirements_have_no_upper_bound_and_one_pin():
    """What is installed beside a host is kept: only what is missing comes in."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    (required,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "REQUIRED"
    )
    assert [name for name in required if "<" in name] == []
    assert [re.split("==", name)[0] for name in required if "==" in name] == ["clip-anytorch"]
    assert not any(name.startswith("setuptools") for name in required)
