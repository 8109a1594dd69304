"""House rules that ruff cannot check: the length of files and functions, and no machine's paths."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (
    "loreal_plugin",
    "hosts",
    "trainers",
    "benchmarks",
    "scripts",
    "configs",
    "docs",
    "results",
    "tests",
    ".ci",
)
KINDS = {".py", ".sh", ".yaml", ".md", ".toml", ".cff", ".in", ""}
MAX_LINES = 300
MAX_TEST_LINES = 400
MAX_FUNCTION = 50
# pages that a command writes
GENERATED = {
    "docs/API.md",
    *(f"results/{name}.md" for name in ("ABLATIONS", "BENCHMARKS", "EVIDENCE", "REPORT")),
}

# Paths of one machine; a checkout has to work anywhere.
MACHINE_PATHS = re.compile(r"/(?:home|root|work|mnt|Users)/|/tmp/")


def written_files() -> list[Path]:
    """Return the files people wrote, as opposed to data, weights and caches."""
    found = [path for path in ROOT.iterdir() if path.suffix or path.name == "LICENSE"]
    for folder in FOLDERS:
        found += (ROOT / folder).rglob("*")
    hidden = {"__pycache__", "bundle", ".pytest_cache", ".ruff_cache"}
    return sorted(
        p for p in found if p.is_file() and p.suffix in KINDS and not hidden & set(p.parts)
    )


FILES = written_files()
SOURCES = [path for path in FILES if path.suffix == ".py"]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def most_lines(path: Path) -> int:
    return MAX_TEST_LINES if path.is_relative_to(ROOT / "tests") else MAX_LINES


def long_functions(tree: ast.Module, limit: int = MAX_FUNCTION) -> list[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return [node.name for node in functions if (node.end_lineno or 0) - node.lineno + 1 > limit]


def test_the_rules_look_at_the_project():
    assert len(SOURCES) > 100
    assert {ROOT / "README.md", ROOT / "loreal_plugin" / "paths.py"} <= set(FILES)


def test_files_are_of_readable_length():
    long = {name_of(path) for path in FILES if len(lines_of(path)) > most_lines(path)}
    assert long - GENERATED == set()


def test_functions_are_of_readable_length():
    long = {
        f"{name_of(path)}:{name}"
        for path in SOURCES
        if not path.is_relative_to(ROOT / "tests")
        for name in long_functions(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert long == set()


def test_no_file_names_a_machine():
    found = [
        (name_of(path), line)
        for path in FILES
        for line in lines_of(path)
        if MACHINE_PATHS.search(line)
    ]
    assert [(name, line) for name, line in found if not line.startswith("MACHINE_PATHS")] == []


def clip_at_import(tree: ast.Module) -> bool:
    """Whether the module imports `clip` at its head, where `pkg_resources` may be missing."""
    names = [
        alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names
    ]
    names += [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
    return any(name.split(".")[0] == "clip" for name in names)


def test_clip_is_imported_by_import_clip_first():
    heads = [path for path in SOURCES if not path.is_relative_to(ROOT / "hosts")]
    found = {name_of(path) for path in heads if clip_at_import(ast.parse(path.read_text("utf-8")))}
    assert found == set()


def test_a_breach_would_be_seen():
    assert clip_at_import(ast.parse("from clip.model import CLIP"))
    body = "\n".join("    x = 1" for _ in range(MAX_FUNCTION))
    assert long_functions(ast.parse(f"def long():\n{body}\ndef short(): pass\n")) == ["long"]
    assert MACHINE_PATHS.search("data in " + "/".join(["", "home", "me"]))


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("def shown(a: int) -> int:\n    return a", "D103"),
        ('def shown(a) -> int:\n    """Return a."""\n    return a', "ANN001"),
        ('def shown(a: int):\n    """Return a."""\n    return a', "ANN201"),
        (f"# {'x' * 100}", "E501"),
    ],
)
def test_ruff_checks_the_package_and_says_so(line: str, rule: str):
    """The configuration is in force: names without documentation or types do not pass."""
    source = f'"""A module."""\n\n\n{line}\n'
    name = "loreal_plugin/method/new.py"
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--stdin-filename", name, "--no-cache", "-"],
        input=source,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and rule in done.stdout, done.stderr
