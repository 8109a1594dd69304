"""The embedded host is reached like a stranger's: what it takes from the plug-in is named."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

from python_at_once import python_at_once

ROOT = Path(__file__).resolve().parents[2]
HOST = ROOT / "hosts" / "embedded"
# file of the host -> modules of the plug-in
TAKEN = {
    "dassl/_plugin.py": {"errors", "files.atomic", "pictures", "weights.host_checkpoints"},
    "datasets/_plugin.py": {
        *("data", "data.base", "data.folder", "data.items", "data.splits", "data.storage"),
        "errors",
    },
    "trainers/_plugin.py": {"data.templates", "errors", "weights"},
    "train.py": {"errors"},
}
# rooms that come with these: pictures, CLIP files, and the demonstration's of both
ROOMS = {"data", "demo", "digests", "errors", "files", "paths", "pictures", "version", "weights"}


def taken_by(path: Path) -> set[str]:
    """Return the modules of the plug-in that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return {
        name.removeprefix("loreal_plugin.")
        for name in found
        if name.split(".")[0] == "loreal_plugin"
    }


def test_four_files_take_what_is_named_here_and_no_other_file_anything():
    files = {path.relative_to(HOST).as_posix(): taken_by(path) for path in HOST.rglob("*.py")}
    assert {name: taken for name, taken in files.items() if taken} == TAKEN


def test_the_host_runs_without_a_room_that_knows_loreal():
    program = """
import sys, train
rooms = {name.split(".")[1] for name in sys.modules if name.startswith("loreal_plugin.")}
print(*sorted(rooms))
"""
    path = f"import sys; sys.path[:0] = {[str(HOST), str(ROOT)]!r}"
    done = subprocess.run(
        [python_at_once(), "-c", f"{path}\n{program}"], cwd=HOST, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {"data", "errors", "weights"} <= set(done.stdout.split()) <= ROOMS


def test_an_import_would_be_seen(tmp_path: Path):
    file = tmp_path / "x.py"
    file.write_text(
        "import loreal_plugin.method\ndef f():\n    from loreal_plugin.trainer import x\n"
    )
    assert taken_by(file) == {"method", "trainer"}
