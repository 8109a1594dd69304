"""The rooms of docs/ARCHITECTURE.md: each imports only what stands above it in the table."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "loreal_plugin"

# Leaves any layer may use; they use no layer themselves.
LEAVES = {
    "errors",
    "paths",
    "options",
    "config",
    "digests",
    "files",
    "presets",
    "version",
    "inference_modes",
    "option_keys",
    "devices",
    "pictures",
    "plain_output",
    "time_left",
}
HOST_MODULES = {"clip", "dassl", "trainers", "datasets", "train"}
ABSENT = ("dassl", "yacs", "clip", "torchvision")


def layer_table() -> dict[str, int]:
    """Return {package of loreal_plugin: layer number} as the architecture page has it."""
    table: dict[str, int] = {}
    for line in (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 3 and cells[1].isdigit():
            table |= {
                name: int(cells[1]) for name in re.findall(r"`loreal_plugin\.(\w+)`", cells[2])
            }
    return table


LAYERS = layer_table()


def imported_modules(path: Path, root: Path = ROOT) -> set[str]:
    """Return the dotted names a file imports, anywhere in it; relative ones resolved."""
    names: set[str] = set()
    package = list(path.relative_to(root).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            # `from loreal_plugin import text` names a package in its list of names.
            names |= (
                {f"{base}.{alias.name}" for alias in node.names}
                if base == "loreal_plugin"
                else {base}
            )
    return names


def owner(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def allowed_for(part: str) -> set[str]:
    """Return the parts of loreal_plugin that one part may import."""
    if part in LEAVES:
        return LEAVES
    return LEAVES | {name for name, number in LAYERS.items() if number <= LAYERS[part]}


def layer_files() -> list[Path]:
    known = LEAVES | set(LAYERS)
    return sorted(path for path in PACKAGE.rglob("*.py") if owner(path) in known)


def test_every_package_has_a_place():
    parts = {owner(path) for path in PACKAGE.rglob("*.py")} - {"__init__", "__main__"}
    assert parts - set(LAYERS) - LEAVES == set()


def test_a_room_has_one_number_and_a_number_one_room():
    assert sorted(LAYERS.values()) == list(range(1, len(LAYERS) + 1))
    assert (LAYERS["method"], LAYERS["text"]) == (1, 2)


def test_no_room_holds_more_than_15_percent_of_the_package():
    lines = dict.fromkeys(LAYERS | dict.fromkeys(LEAVES, 0), 0)
    for path in PACKAGE.rglob("*.py"):
        lines[owner(path)] = lines.get(owner(path), 0) + len(path.read_text("utf-8").splitlines())
    share = max(lines.values()) / sum(lines.values())
    assert share <= 0.15, (max(lines, key=lines.get), share)


@pytest.mark.parametrize("path", layer_files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_only_from_its_room_and_above(path: Path):
    used = {
        name.split(".")[1] for name in imported_modules(path) if name.startswith("loreal_plugin.")
    }
    used.discard("__version__")
    assert used - allowed_for(owner(path)) == set()


@pytest.mark.parametrize("path", layer_files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_of_a_host_is_imported_with_the_module(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            top |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            top.add(node.module.split(".")[0])
    assert top & HOST_MODULES == set()


@pytest.mark.parametrize("part", ["method", "text"])
def test_first_two_layers_use_torch_and_nothing_else(part: str):
    files = (PACKAGE / part).rglob("*.py")
    outside = {name.split(".")[0] for path in files for name in imported_modules(path)}
    assert outside - set(sys.stdlib_module_names) == {"torch", "loreal_plugin"}


def test_first_two_layers_import_where_nothing_else_is_installed():
    program = f"""
import sys
for name in {ABSENT!r}:
    sys.modules[name] = None
import loreal_plugin.method.loreal, loreal_plugin.text
loaded = [m for m in sys.modules if m.startswith("loreal_plugin.")]
print(sorted({{m.split(".")[1] for m in loaded}}))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    leaves = {"errors", "inference_modes", "option_keys", "options", "presets", "version"}
    assert done.stdout.strip() == str(sorted({"method", "text"} | leaves))


def test_a_forbidden_import_would_be_seen(tmp_path: Path):
    file = tmp_path / "loreal_plugin" / "method" / "wrong.py"
    file.parent.mkdir(parents=True)
    lines = ["from ..text import prefix", "from loreal_plugin import trainer"]
    lines += ["def f():", "    import dassl.data"]
    file.write_text("\n".join(lines))
    assert imported_modules(file, tmp_path) == {
        "loreal_plugin.text",
        "loreal_plugin.trainer",
        "dassl.data",
    }
    assert {"text", "trainer"} & allowed_for("method") == set()


def test_tests_mirror_the_package():
    # host: the embedded host; parity: real checkouts; stand_ins: hosts that tests write
    beside = {"host", "parity", "stand_ins", "benchmarks"}
    folders = {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("**/test_*.py"))}
    assert folders - beside - set(LAYERS) - LEAVES == set()
    assert set(LAYERS) - folders == set()
