"""The top of a host's source file is parsed once, and again when the file changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from loreal_plugin.attach.host_sources import Import, TopLevel, top_of


def test_names_and_imports_at_the_top(tmp_path: Path):
    file = tmp_path / "a.py"
    lines = ["import os.path as place, sys", "from . import near", "from ..far import x as y"]
    file.write_text("\n".join([*lines, "class A:\n    import inner", "def f(): ...", "z = 1"]))
    top = top_of(file)
    assert top.names == {"place", "sys", "near", "y", "A", "f"}
    assert top.imports == (
        *(Import("os.path"), Import("sys")),
        *(Import("", ("near",), 1), Import("far", ("x",), 2)),
    )


def test_a_file_is_parsed_once_a_version(tmp_path: Path):
    file = tmp_path / "a.py"
    file.write_text("a = 1\n")
    first = top_of(file)
    assert first == TopLevel(frozenset(), ()) and top_of(file) is first
    file.write_text("import b\n")
    assert top_of(file).names == {"b"}
    file.write_text("no python\n")
    for _ in range(2):
        with pytest.raises(SyntaxError):
            top_of(file)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        top_of(file)
