"""Pictures as people have them: each form of a picture is read as the same picture."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from loreal_plugin import pictures
from loreal_plugin.errors import DataError
from loreal_plugin.pictures import as_rgb, decode, from_array, picture_identity, read_picture

ROOT = Path(__file__).resolve().parent.parent
# left to right from black to white, one value a column
RAMP = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
# four corners of other colours: a turn in the wrong direction is seen
CORNERS = np.zeros((40, 60, 3), np.uint8)
CORNERS[:20, :30], CORNERS[:20, 30:] = (250, 10, 10), (10, 250, 10)
CORNERS[20:, :30], CORNERS[20:, 30:] = (10, 10, 250), (250, 250, 10)
# EXIF's orientation -> how the stored pixels come from the upright ones
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: np.rot90(a, -1),
}


def pixels(picture: Image.Image) -> np.ndarray:
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(int)


def turned(path: Path, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](CORNERS)))
    stored.save(
        path, exif=exif, **({"quality": 95, "subsampling": 0} if "jpg" in path.name else {})
    )
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tiff"])
def test_a_camera_s_turn_is_applied_once(tmp_path: Path, name: str, orientation: int) -> None:
    found = pixels(read_picture(turned(tmp_path / name, orientation)))
    assert found.shape == CORNERS.shape
    for row, column in ((5, 5), (5, 55), (35, 5), (35, 55)):
        assert np.abs(found[row, column] - CORNERS[row, column]).max() < 12


def test_a_broken_note_of_the_camera_is_no_reason_to_refuse(tmp_path: Path) -> None:
    Image.fromarray(CORNERS).save(tmp_path / "a.jpg", exif=b"Exif\0\0XX nothing that EXIF has")
    assert read_picture(tmp_path / "a.jpg").size == (60, 40)


def as_file(kind: str, path: Path) -> Path:
    """Write the ramp, black to white, in one of the forms that files have."""
    share = RAMP / 255
    forms = {
        "grey.png": lambda: Image.fromarray(RAMP),
        "16.png": lambda: Image.fromarray(np.rint(share * 65535).astype(np.uint16)),
        "16.tiff": lambda: Image.fromarray(np.rint(share * 65535).astype(np.uint16)),
        "32.tiff": lambda: Image.fromarray(np.rint(share * 65535).astype(np.int32)),
        "float.tiff": lambda: Image.fromarray(share.astype(np.float32)),
        "float255.tiff": lambda: Image.fromarray((share * 255).astype(np.float32)),
        "signed.tiff": lambda: Image.fromarray((share * 3 - 2).astype(np.float32)),
        "palette.png": lambda: Image.fromarray(RAMP).convert("P"),
        "palette.gif": lambda: Image.fromarray(RAMP),
        "opaque.png": lambda: Image.fromarray(RAMP).convert("RGBA"),
        "la.png": lambda: Image.fromarray(RAMP).convert("LA"),
        "cmyk.tiff": lambda: Image.fromarray(RAMP).convert("RGB").convert("CMYK"),
        "cmyk.jpg": lambda: Image.fromarray(RAMP).convert("RGB").convert("CMYK"),
    }
    if kind == "16.pgm":  # Pillow 9 reads this form and does not write it
        height, width = share.shape
        values = np.rint(share * 65535).astype(">u2").tobytes()
        path.write_bytes(b"P5 %d %d 65535\n" % (width, height) + values)
        return path
    forms[kind]().save(path, **({"quality": 98} if kind.endswith("jpg") else {}))
    return path


FORMS = [
    *("grey.png", "16.png", "16.tiff", "16.pgm", "32.tiff", "float.tiff", "float255.tiff"),
    *("signed.tiff", "palette.png", "palette.gif", "opaque.png", "la.png"),
    *("cmyk.tiff", "cmyk.jpg"),
]


@pytest.mark.parametrize("kind", FORMS)
def test_every_form_of_a_picture_is_the_same_picture(tmp_path: Path, kind: str) -> None:
    found = pixels(read_picture(as_file(kind, tmp_path / kind)))
    assert np.abs(found - RAMP[:, :, None]).max() <= (3 if kind.endswith("jpg") else 1)


def test_what_is_transparent_shows_white_and_halves_are_mixed(tmp_path: Path) -> None:
    picture = np.zeros((2, 3, 4), np.uint8)
    picture[:, :, 0], picture[:, 1, 3], picture[:, 2, 3] = 200, 128, 255
    Image.fromarray(picture).save(tmp_path / "a.png")
    (first, half, whole) = pixels(read_picture(tmp_path / "a.png"))[0]
    assert list(first) == [255, 255, 255] and list(whole) == [200, 0, 0]
    assert np.abs(half - [227, 127, 127]).max() <= 1
    indexed = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    indexed.putpalette([9, 9, 9, 100, 110, 120])
    indexed.save(tmp_path / "p.png", transparency=0)
    assert pixels(read_picture(tmp_path / "p.png")).tolist() == [[[255] * 3, [100, 110, 120]]]


def test_arrays_are_read_as_files_are() -> None:
    colours = np.stack([RAMP, RAMP[:, ::-1], RAMP], axis=2)
    wide = np.rint(colours / 255 * 65535)
    for array in (colours, wide.astype(np.uint16), (colours / 255).astype(np.float32)):
        assert np.abs(pixels(from_array(array)) - colours).max() == 0
    assert np.abs(pixels(from_array(RAMP)) - RAMP[:, :, None]).max() == 0
    assert pixels(from_array(np.array([[True, False]]))).max(2).tolist() == [[255, 0]]
    for wrong in (np.zeros(3), np.zeros((2, 2, 2)), np.zeros((0, 2, 3)), np.zeros((1, 2, 2, 3))):
        with pytest.raises(DataError, match="must have the shape"):
            from_array(wrong)
    with pytest.raises(DataError, match="finite"):
        from_array(np.full((2, 2), np.nan))


def test_numbers_that_are_not_finite_are_black(tmp_path: Path) -> None:
    values = np.array([[0.5, np.nan, np.inf, 1.0]], np.float32)
    assert pixels(from_array(values))[0, :, 0].tolist() == [128, 0, 0, 255]


WRONG = {
    "text": (b"hello, I am no picture\n", "it begins with the text 'hello, I am no picture'"),
    "empty": (b"", "the file is empty"),
    "noise": (
        bytes((i * 73 + 41) % 256 for i in range(200)),
        "in no picture format that is known here",
    ),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(40), "HEIC"),
    "cut": (b"\xff\xd8\xff\xe0" + bytes(30), "no picture"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_picture_is_named_with_what_it_is(tmp_path: Path, kind: str) -> None:
    content, words = WRONG[kind]
    path = tmp_path / f"{kind}.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_picture(path)
    assert str(path) in str(error.value) and words in str(error.value)
    assert "object at" not in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(DataError) as error:
        decode(content)
    assert words in str(error.value)


def test_truncated_absent_and_special_files_are_named(tmp_path: Path) -> None:
    path = turned(tmp_path / "a.png", 1)
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(DataError, match=r"a\.png' cannot be read: .*replace or remove it"):
        read_picture(path)
    with pytest.raises(DataError, match=r"gone\.png' does not exist"):
        read_picture(tmp_path / "gone.png")
    with pytest.raises(DataError, match="it is a folder"):
        read_picture(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(DataError, match="no regular file"):
        read_picture(tmp_path / "pipe.jpg")


def test_postscript_is_a_program_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_words: object) -> None:
        raise AssertionError("Ghostscript was called")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
    path = tmp_path / "cat.jpg"
    Image.new("RGB", (8, 8)).save(path, format="EPS")
    with pytest.raises(DataError, match="cat.jpg' cannot be read: it is PostScript, a program"):
        read_picture(path)
    assert len(picture_identity(path.read_bytes())) == 64


def test_bombs_are_refused_whatever_another_library_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("1", (20000, 20000)).save(tmp_path / "bomb.png")
    with pytest.raises(DataError, match=r"bomb.*178,956,970"):
        read_picture(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(DataError, match="20000 x 20000 pixels are more than 178,956,970"):
        read_picture(tmp_path / "bomb.png")


@pytest.mark.parametrize("size", [(1, 3567), (7000, 1), (0, 5), (0, 0)])
def test_a_thread_of_pixels_is_refused(size: tuple[int, int]) -> None:
    """To a shorter side of 224 a thread of a million pixels would become 200 GB."""
    with pytest.raises(DataError, match="times the other"):
        as_rgb(Image.new("RGB", size))
    assert as_rgb(Image.new("RGB", (1, 3566))).size == (1, 3566)


def test_identity_changes_only_where_pixels_do(tmp_path: Path) -> None:
    """Embeddings of plain pictures keep their keys; those that were read wrongly get new ones."""

    def content(path: Path) -> bytes:
        return path.read_bytes()

    plain = [
        content(turned(tmp_path / "a.jpg", 1)),
        *(content(as_file(k, tmp_path / k)) for k in ("grey.png", "palette.png", "cmyk.jpg")),
    ]
    for one in plain:
        before = Image.open(io.BytesIO(one)).convert("RGB")
        assert picture_identity(one) == hashlib.sha256(one).hexdigest()
        assert np.array_equal(pixels(before), pixels(decode(one)))
    changed = [
        *(content(turned(tmp_path / f"b.{end}", 6)) for end in ("jpg", "png", "webp")),
        *(content(as_file(k, tmp_path / k)) for k in ("16.png", "float.tiff", "opaque.png")),
    ]
    for one in changed:
        assert picture_identity(one) != hashlib.sha256(one).hexdigest()
    assert len({picture_identity(one) for one in changed}) == len(changed)
    assert picture_identity(b"no picture") == hashlib.sha256(b"no picture").hexdigest()


def test_a_new_reading_gives_new_identities(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = turned(tmp_path / "a.jpg", 8).read_bytes()
    before = picture_identity(one)
    monkeypatch.setattr(pictures, "READING", pictures.READING + 1)
    assert picture_identity(one) != before


def test_pillow_s_pictures_are_read_as_their_files(tmp_path: Path) -> None:
    path = turned(tmp_path / "a.jpg", 6)
    with Image.open(path) as image:
        assert np.array_equal(pixels(as_rgb(image)), pixels(read_picture(path)))


def test_it_needs_neither_torch_nor_a_room_of_the_package() -> None:
    program = """
import sys
for name in ("torch", "torchvision", "yacs", "scipy"):
    sys.modules[name] = None
import loreal_plugin.pictures
print(*sorted(m for m in sys.modules if m.startswith("loreal_plugin.")))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        "loreal_plugin.errors",
        "loreal_plugin.pictures",
        "loreal_plugin.version",
    ]
