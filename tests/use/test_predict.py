"""Many pictures are named in order, whatever the batch and the threads; broken ones are skipped."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from loreal_plugin.cli.main import main
from loreal_plugin.errors import DataError
from loreal_plugin.inference.deployed import Prediction
from loreal_plugin.use.forms import head_of, line_of
from loreal_plugin.use.predict import Answered, Tally, answers
from loreal_plugin.use.sources import Source, first_of

NAMES = [f"class {i}" for i in range(12)]


class Shades:
    """A model that names a picture's shade; it notes how many pictures came at once."""

    classnames = NAMES
    title = "shades"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def pixels(self, picture: Image.Image) -> int:
        shade = picture.getpixel((0, 0))[0]
        time.sleep(0.002 * (shade % 3))  # readers end in another order than they began
        return shade

    def best(self, pixels: Sequence[int], top: int) -> list[list[Prediction]]:
        self.batches.append(len(pixels))
        return [[Prediction(NAMES[shade], 0.5)] * top for shade in pixels]


def source(index: int, live: bool = False) -> Source:
    def read() -> Image.Image:
        if index % 5 == 4:
            raise DataError(f"picture {index} cannot be read")
        return Image.new("RGB", (2, 2), (index, 0, 0))

    return Source(f"{index}", read, live)


@pytest.mark.parametrize(("batch", "readers"), [(1, 1), (3, 4), (32, 2)])
def test_answers_are_in_order_and_broken_pictures_do_not_stop_them(
    batch: int, readers: int
) -> None:
    model, tally = Shades(), Tally()
    found = list(answers(model, map(source, range(12)), tally, top=2, batch=batch, readers=readers))
    assert [one.name for one in found] == [str(i) for i in range(12)]
    for index, one in enumerate(found):
        if index % 5 == 4:
            assert one == Answered(str(index), (), f"picture {index} cannot be read")
        else:
            assert [p.classname for p in one.classes] == [NAMES[index]] * 2
    assert (tally.named, tally.broken) == (10, 2) and max(model.batches) <= batch
    assert "10 pictures in" in tally.text() and "2 could not be read" in tally.text()


def test_a_camera_is_answered_before_its_next_picture() -> None:
    taken: list[int] = []

    def camera() -> Any:
        for index in range(3):
            taken.append(index)
            yield source(index, live=True)

    for count, _ in enumerate(answers(Shades(), camera(), Tally()), start=1):
        assert len(taken) == count


def test_a_long_list_is_not_read_ahead_as_a_whole() -> None:
    taken: list[int] = []
    lots = (source(taken.append(i) or 0) for i in range(1000))  # type: ignore[func-returns-value]
    next(iter(answers(Shades(), lots, Tally(), batch=4)))
    assert len(taken) <= 12


def test_the_first_pictures_are_looked_at_without_waiting_for_a_camera() -> None:
    lots = iter([source(index) for index in range(5)])
    assert [one.name for one in first_of(lots, 3)] == ["0", "1", "2"] and next(lots).name == "3"
    camera = (source(index, live=True) for index in range(3))
    assert [one.name for one in first_of(camera, 3)] == ["0"] and next(camera).name == "1"


def test_where_nothing_could_be_read_no_time_a_picture_is_told() -> None:
    assert Tally(broken=2, wall=1.0).text() == "no picture was named; 2 could not be read"


def csv_row(picture: str, classname: str) -> list[str]:
    """Return the cells of one answer in CSV."""
    answered = Answered(picture, [Prediction(classname, 0.5)])
    return next(csv.reader([line_of(answered, "csv", [classname], 9)]))


def test_forms_say_the_same() -> None:
    good = Answered('a "b", c.jpg', [Prediction("red fox", 0.75), Prediction("Größe", 0.2)])
    bad = Answered("x.png", (), "picture 'x.png' does not exist")
    assert line_of(good, "table", ["red fox", "Größe"], 14) == (
        'a "b", c.jpg    red fox   75.0 %   Größe 20.0 %'
    )
    rows = "\n".join([head_of("csv"), line_of(good, "csv", NAMES, 9)])
    assert list(csv.DictReader(io.StringIO(rows))) == [
        {"picture": good.name, "rank": "1", "class": "red fox", "probability": "0.750000"},
        {"picture": good.name, "rank": "2", "class": "Größe", "probability": "0.200000"},
    ]
    assert json.loads(line_of(good, "json", NAMES, 9)) == {
        "picture": good.name,
        "classes": [
            {"class": "red fox", "probability": 0.75},
            {"class": "Größe", "probability": 0.2},
        ],
    }
    assert csv_row("-1.png", "=1+1") == ["'-1.png", "1", "'=1+1", "0.500000"]
    assert csv_row("a=b.png", "@ home") == ["a=b.png", "1", "'@ home", "0.500000"]
    assert json.loads(line_of(bad, "json", NAMES, 9)) == {"picture": "x.png", "error": bad.fault}
    assert line_of(bad, "table", NAMES, 9) == "" == line_of(bad, "csv", NAMES, 9)


@pytest.fixture
def package(package_of: Any) -> Any:
    """Give an exported package and its model."""
    return package_of("coop", "static")


def test_a_package_names_pictures_on_the_command_line(
    package: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    words = ["predict", str(package.folder), *package.files, str(tmp_path / "text.jpg")]
    assert main([*words, "--format", "json", "--top", "2", "--batch", "3"]) == 1
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["picture"] for row in rows] == [*package.files, str(tmp_path / "text.jpg")]
    wanted = package.deployed.predict(package.files, top=2)
    for row, best in zip(rows, wanted, strict=False):
        assert [one["class"] for one in row["classes"]] == [one.classname for one in best]
        assert [one["probability"] for one in row["classes"]] == pytest.approx(
            [one.probability for one in best], abs=1e-4
        )
    assert "begins with the text 'no picture'" in rows[-1]["error"]
    assert "skipped: picture" in said.err and "1 could not be read" in said.err
    assert main([*words[:3], "--top", "1", package.files[1]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0].strip() for line in lines] == package.files[:2]
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "a longer name.png"):
        Path(name).write_bytes(Path(package.files[0]).read_bytes())
    assert main([*words[:2], "a.png", "a longer name.png", "--top", "1"]) == 0
    assert len({len(line) for line in capsys.readouterr().out.splitlines()}) == 1, "one column"


@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_names_that_are_no_utf8_do_not_stop_the_others(
    package: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    odd = [tmp_path / os.fsdecode(name) for name in (b"caf\xe9.png", b"gone\xff.png")]
    odd[0].write_bytes(Path(package.files[0]).read_bytes())
    names = [str(odd[0]), str(odd[1]), package.files[1]]
    listed = io.BytesIO(b"".join(os.fsencode(name) + b"\n" for name in names))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(listed, "utf-8"))
    assert main(["predict", str(package.folder), "-", "--format", form, "--top", "1"]) == 1
    said = capsys.readouterr()
    assert "caf\\udce9.png" in said.out and "gone\\udcff.png' does not exist" in said.err
    assert package.files[1] in said.out
    if form == "json":
        assert [json.loads(line)["picture"] for line in said.out.splitlines()] == names


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no picture was named"),
        (["a.png", "--bogus"], "unknown argument '--bogus'"),
        (["a.png", "--top", "0"], "--top must be a whole number"),
        (["a.png", "--every", "often"], "--every must be seconds"),
        (["a.png", "--inference", "static"], "is a package"),
        (["a.png", "--classes", "nothing"], "unknown head 'nothing'"),
    ],
)
def test_wrong_words_are_one_line(
    package: Any, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(package.folder), *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_a_folder_that_is_neither_run_nor_package_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(tmp_path), "a.png"]) == 2
    error = capsys.readouterr().err
    assert str(tmp_path) in error and "neither" in error and "loreal export" in error


def test_arrays_and_tensors_are_pictures(package: Any) -> None:
    deployed = package.deployed
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    import torch

    tensor = torch.from_numpy(array).permute(2, 0, 1)
    kinds = [
        Image.fromarray(array),
        array,
        (array / 255).astype(np.float32),
        (array.astype(np.uint16) * 257),
        tensor,
        tensor / 255,
    ]
    first, *others = (deployed.pixels(one) for one in kinds)
    assert all(torch.equal(first, one) for one in others)
    assert deployed.predict(kinds[:3]) == deployed.predict(np.stack([array] * 3))
    for wrong, words in (
        (tensor / 255 - 0.5, "numbers below 0"),
        (tensor / 250, r"fractions has numbers above 1 \(1.02\)"),
        (tensor[None], "shape"),
        (7, "got int"),
    ):
        with pytest.raises(DataError, match=words):
            deployed.predict([wrong])
    for one in (array, tensor):
        with pytest.raises(DataError, match="must be a list"):
            deployed.predict(one)
