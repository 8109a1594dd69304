"""Names of methods stand in the rows: nowhere else does code ask which method it has."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from loreal_plugin.contract import CONTRACTS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "loreal_plugin"
NAMES = {
    name
    for row in CONTRACTS.values()
    for name in (row.method, row.title, row.trainer, row.loreal_trainer, row.cfg_node, row.module)
}
# What may name methods, and why.
ALLOWED = {
    "contract": "the rows",
    "attach/shims": "which repository a repair is for",
    "results/published.py": "numbers that a paper printed, by method",
}


def sources() -> list[Path]:
    """Return the files of the package that may not name a method."""
    names = {path: path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    return sorted(
        path
        for path, name in names.items()
        if not any(name == one or name.startswith(f"{one}/") for one in (*ALLOWED, "bundle"))
    )


def named(source: str) -> Iterator[str]:
    """Give each place that has a method's name as a text of its own, an attribute or a key."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and node.value in NAMES:
            yield f"line {node.lineno}: {node.value!r}"
        elif isinstance(node, ast.Attribute) and node.attr in NAMES and node.attr.isupper():
            yield f"line {node.lineno}: .{node.attr}"
        elif isinstance(node, ast.keyword) and node.arg in NAMES:
            yield f"line {node.value.lineno}: {node.arg}="


def test_no_method_is_named_outside_the_rows():
    found = {
        path.relative_to(PACKAGE).as_posix(): places
        for path in sources()
        if (places := list(named(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


@pytest.mark.parametrize("place", ALLOWED)
def test_what_may_name_methods_does(place: str):
    path = PACKAGE / place
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    assert any(list(named(file.read_text(encoding="utf-8"))) for file in files)


@pytest.mark.parametrize(
    "source",
    [
        "if method == 'mmrl': pass",
        "COLOURS = {'coop': 'green'}",
        "cfg.TRAINER.COOP.CTX_INIT = ''",
        "dict(maple=1)",
        "f(['CoOp_LOREAL'])",
    ],
)
def test_a_name_would_be_seen(source: str):
    assert list(named(source)) and not list(named("x = 'cooperate'; y.maple = 'MaPLe and MMA'"))
