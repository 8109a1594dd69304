"""Names that come from elsewhere are shown on a terminal and do nothing there."""

from __future__ import annotations

import io
import json
import os

import pytest

from loreal_plugin.cli.main import main
from loreal_plugin.plain_output import PlainStream, counted, shown

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b1A\u202eevil\x7f\u2028"


def test_control_characters_are_written_out_and_letters_stay() -> None:
    assert shown(HOSTILE) == r"\x1b]0;owned\x07\x1b[2J\x9b1A\u202eevil\x7f\u2028"
    for text in ("plain", "Füße, 猫 🐱 émeu", "a\tb\r\n", ""):
        assert shown(text) == text


def test_a_stream_writes_them_out_and_is_else_what_it_was() -> None:
    below = io.StringIO()
    stream = PlainStream(below)
    assert stream.write(HOSTILE) == len(HOSTILE)
    stream.writelines(["\x1b[31m", "\n\x1b[A"])  # the second: a bar goes back to its line
    assert below.getvalue() == shown(HOSTILE) + "\\x1b[31m\n\x1b[A"
    assert stream.getvalue() == below.getvalue() and not stream.isatty()


@pytest.mark.parametrize(
    ("encoding", "said"), [("utf-8", "Größe\\udce9 猫"), ("ascii", r"Gr\xf6\xdfe\udce9 \u732b")]
)
def test_what_an_output_cannot_say_is_written_out(encoding: str, said: str) -> None:
    below = io.TextIOWrapper(io.BytesIO(), encoding)
    name = os.fsdecode("Größe".encode() + b"\xe9") + " 猫"
    assert PlainStream(below).write(name) == len(name)
    below.flush()
    assert below.buffer.getvalue().decode(encoding) == said  # type: ignore[attr-defined]
    assert json.loads(f'"{shown(name)}"') == name, "in JSON it is the escape of the same name"


def test_the_command_line_shows_what_it_was_given(capsys: pytest.CaptureFixture) -> None:
    assert main(["predict", f"nowhere{HOSTILE}", "x.jpg"]) == 2
    said = capsys.readouterr().err
    assert "nowhere\\x1b]0;owned" in said and "\x1b" not in said and "\u202e" not in said


def test_a_count_has_the_number_of_its_noun() -> None:
    found = [counted(count, one) for one in ("thread", "class", "more line") for count in (0, 1, 2)]
    assert found == [
        *("0 threads", "1 thread", "2 threads"),
        *("0 classes", "1 class", "2 classes"),
        *("0 more lines", "1 more line", "2 more lines"),
    ]
