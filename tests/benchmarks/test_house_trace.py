"""The counting functions of benchmarks/house_trace.py on a made-up package of three rooms."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from loreal_plugin.attach import detach_host

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

MINI = {
    "__init__.py": "",
    "low/__init__.py": "from mini.low.one import first\n",
    "low/one.py": "from . import two\n\n\ndef first():\n    return two.second() + two.second()\n",
    "low/two.py": "def second():\n    return third()\n\n\ndef third():\n    return 1\n",
    "high/__init__.py": "",
    "high/top.py": "from mini.low import first\n\n\ndef run():\n    return first()\n",
    "side/__init__.py": "",
    "side/a.py": "def f():\n    from mini.side import b\n",
    "side/b.py": "import mini.side.a\nimport mini.high.top\n",
}
PAGE = "| # | room |\n|---|---|\n| 1 | `mini.low` |\n| 2 | `mini.side` |\n| 3 | `mini.high` | x |\n"


@pytest.fixture(scope="module")
def counts() -> ModuleType:
    """Give the module of counting functions, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("house_counts", BENCHMARKS / "house_counts.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["house_counts"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    """Give the folder of the made-up package."""
    for name, text in MINI.items():
        path = tmp_path / "mini" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "mini"


def test_a_visit_is_a_call_into_another_file(counts, mini, monkeypatch):
    monkeypatch.syspath_prepend(str(mini.parent))
    top = importlib.import_module("mini.high.top")
    try:
        files = counts.traced(top.run, mini.parent)
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "mini"]:
            del sys.modules[name]
    two = ["mini/low/two.py"]
    assert files == ["mini/high/top.py", "mini/low/one.py", *two * 4]
    assert counts.visits(files) == 3
    assert counts.transitions(files) == {
        ("mini/high/top.py", "mini/low/one.py"): 1,
        ("mini/low/one.py", "mini/low/two.py"): 1,
    }
    assert counts.within(files, "mini/low") == ["mini/low/one.py", *two * 4]
    assert sys.getprofile() is None


def test_no_call_is_no_visit(counts, tmp_path):
    assert counts.visits(counts.traced(lambda: None, tmp_path)) == 0


def test_sizes_of_files_functions_and_rooms(counts, mini):
    paths = sorted(mini.rglob("*.py"))
    assert [path.name for path in counts.long_files(paths, limit=5)] == ["two.py"]
    assert counts.long_functions(paths, limit=1) == [
        *("top.py:run", "one.py:first", "two.py:second", "two.py:third", "a.py:f")
    ]
    assert counts.long_functions(paths, limit=2) == []
    assert counts.room_lines(mini) == {"low": 12, "high": 5, "side": 4}


def test_a_reading_list_names_what_it_cannot_find(counts, mini):
    names = ("low/*.py", "!low/__init__.py", "low/gone.py|side/a.py")
    found = [path.relative_to(mini).as_posix() for path in counts.files_of(mini, names)]
    assert found == ["low/one.py", "low/two.py", "side/a.py"]
    with pytest.raises(FileNotFoundError, match="low/gone.py names no file"):
        counts.files_of(mini, ["low/gone.py"])


def test_imports_between_modules_and_rooms(counts, mini):
    edges = counts.module_edges(mini)
    assert edges["mini.low.one"] == {"mini.low.two"}
    assert edges["mini.high.top"] == {"mini.low"}
    assert edges["mini.side.a"] == {"mini.side.b"}
    assert counts.room_edges(edges)["side"] == {"high"}
    assert counts.circles(edges) == [["mini.side.a", "mini.side.b"]]
    assert counts.circles(counts.room_edges(edges)) == []


def test_imports_that_go_upward(counts, mini, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    numbers = counts.room_numbers(page)
    assert numbers == {"low": 1, "side": 2, "high": 3}
    arrows = counts.upward_arrows(counts.module_edges(mini), numbers)
    assert [str(arrow) for arrow in arrows] == ["mini.side.b -> mini.high.top"]


def test_who_imports_a_package(counts, mini):
    assert counts.imports_package(mini / "high" / "top.py", "mini")
    assert not counts.imports_package(mini / "low" / "two.py", "mini")


def test_the_table_has_a_column_a_checkout(counts, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    trace = importlib.import_module("house_trace")
    table = trace.markdown({"old": {"visits": [3, 2], "long": ["a", "b"]}, "new": {"long": []}})
    assert table.splitlines()[0] == "| measure | old | new |"
    assert table.splitlines()[2:] == ["| visits | 3, 2 |  |", "| long | 2 | 0 |"]


def test_a_prediction_a_step_and_a_class_name_stay_within_few_files(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("LOREAL_CACHE", "set by the probe, and put back behind it")
    monkeypatch.setattr(sys, "path", [*sys.path])
    trace = importlib.import_module("house_trace")
    detach_host()
    # in this process, which has imported what a new one would import for seconds
    rows = trace.call_rows(trace.probe(BENCHMARKS.parent), BENCHMARKS.parent)
    detach_host()
    _, files, visits = rows["prediction: calls, files, visits (package)"]
    assert files <= 7 and visits <= 15
    _, files, visits = rows["uncached step: calls, files, visits (package)"]
    assert files <= 12 and visits <= 40
    _, files, _ = rows["class name: calls, files, visits (package)"]
    assert files <= 6
    reading = trace.reading_list(BENCHMARKS.parent / "loreal_plugin")
    assert len(reading) <= 6 and sum(map(trace.counts.count_lines, reading)) <= 900
