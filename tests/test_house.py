"""House rules that a reader would otherwise have to check: sizes, words, documentation,
annotations.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (
    "loreal_plugin",
    "hosts",
    "trainers",
    "benchmarks",
    "scripts",
    "configs",
    "docs",
    "tests",
    ".ci",
)
KINDS = {".py", ".sh", ".yaml", ".md", ".toml", ".cff", ".in", ""}
MAX_LINES = 400
# pages of tables that a command writes from results
GENERATED = {"docs/REPORT.md", "docs/ABLATIONS.md", "docs/BENCHMARKS.md"}
MAX_FUNCTION = 80

# Paths of one machine; a checkout has to work anywhere.
MACHINE_PATHS = re.compile(r"/(?:home|root|work|mnt|Users)/|/tmp/")

# Faults that are allowed, as the tests print them, each with its reason.
UNDOCUMENTED: frozenset[str] = frozenset()
UNTYPED: frozenset[str] = frozenset()

Function = ast.FunctionDef | ast.AsyncFunctionDef


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
PACKAGE = [path for path in SOURCES if path.is_relative_to(ROOT / "loreal_plugin")]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def public_definitions(
    body: list[ast.stmt], inside: str = ""
) -> Iterator[tuple[str, Function | ast.ClassDef, bool]]:
    """Yield (dotted name, definition, is it a method) of what a module offers; __init__ counts for
    its types.
    """
    for node in body:
        if not isinstance(node, (Function, ast.ClassDef)) or (
            node.name.startswith("_") and node.name != "__init__"
        ):
            continue
        yield f"{inside}{node.name}", node, bool(inside)
        if isinstance(node, ast.ClassDef):
            yield from public_definitions(node.body, f"{inside}{node.name}.")


def without_type(node: Function, is_method: bool) -> list[str]:
    """Return the parameters without annotation, and "return" where that one is missing."""
    names = node.args.posonlyargs + node.args.args
    bound = is_method and not any(
        isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list
    )
    names = names[1:] if bound else names
    names += node.args.kwonlyargs + [
        extra for extra in (node.args.vararg, node.args.kwarg) if extra
    ]
    missing = [name.arg for name in names if name.annotation is None]
    return missing if node.returns is not None else [*missing, "return"]


def undocumented(tree: ast.Module) -> list[str]:
    """Return the public names without a docstring; an __init__ is documented by its class."""
    missing = [] if ast.get_docstring(tree) else ["module"]
    known = [
        (name, node)
        for name, node, _ in public_definitions(tree.body)
        if not name.endswith("__init__")
    ]
    return missing + [name for name, node in known if not ast.get_docstring(node)]


def untyped(tree: ast.Module) -> list[str]:
    """Return the public functions and methods that leave a parameter or their result without a
    type.
    """
    known = [
        (name, node, method)
        for name, node, method in public_definitions(tree.body)
        if isinstance(node, Function)
    ]
    return [
        f"{name}({', '.join(lack)})"
        for name, node, method in known
        if (lack := without_type(node, method))
    ]


def long_functions(tree: ast.Module, limit: int = MAX_FUNCTION) -> list[str]:
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    return [node.name for node in functions if (node.end_lineno or 0) - node.lineno + 1 > limit]


def faults(paths: Iterable[Path], rule: Callable[[ast.Module], list[str]]) -> set[str]:
    """Return "file:fault" for every fault that a rule finds in the files."""
    return {f"{name_of(path)}:{fault}" for path in paths for fault in rule(parsed(path))}


def test_the_rules_look_at_the_project():
    assert (
        len(FILES) > 100
        and ROOT / "README.md" in FILES
        and ROOT / "loreal_plugin" / "paths.py" in PACKAGE
    )


def test_files_are_of_readable_length():
    written = [path for path in FILES if name_of(path) not in GENERATED]
    assert [name_of(path) for path in written if len(lines_of(path)) > MAX_LINES] == []


def test_no_file_names_a_machine():
    found = [
        (name_of(path), line)
        for path in FILES
        for line in lines_of(path)
        if MACHINE_PATHS.search(line)
    ]
    assert [(name, line) for name, line in found if not line.startswith("MACHINE_PATHS")] == []


def test_functions_are_of_readable_length():
    ours = [path for path in SOURCES if not path.is_relative_to(ROOT / "tests")]
    assert faults(ours, long_functions) == set()


def test_what_the_package_offers_is_documented():
    # Equal, not contained: an exception that is no longer needed has to go.
    assert faults(PACKAGE, undocumented) == UNDOCUMENTED


def test_what_the_package_offers_is_typed():
    assert faults(PACKAGE, untyped) == UNTYPED


def test_a_breach_would_be_seen():
    body = "\n".join("    x = 1" for _ in range(MAX_FUNCTION))
    tree = ast.parse(
        f"def long():\n{body}\n"
        "class A:\n"
        "    '''Documented.'''\n"
        "    def __init__(self, a): self.a = a\n"
        "    def shown(self, *b: int) -> None: '''Documented.'''\n"
        "    def _hidden(self, c): return c\n"
    )
    assert long_functions(tree) == ["long"]
    assert undocumented(tree) == ["module", "long"]
    assert untyped(tree) == ["long(return)", "A.__init__(a, return)"]
    assert MACHINE_PATHS.search("data in " + "/".join(["", "home", "me"]))
